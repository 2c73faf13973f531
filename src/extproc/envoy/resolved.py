"""From a resolved configuration to the plan of its gateway: the same hosts, rules and Backends, in the same order."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from extproc.core.chain import Chain
from extproc.core.phase import Phase
from extproc.envoy.bootstrap import system_ca
from extproc.envoy.plan import Certificate, Match, Plan, Retry, Rule, Tls, Upstream, VirtualHost
from extproc.envoy.processor import EXT_PROC
from extproc.errors import ConfigError, Place
from extproc.policy import matching
from extproc.policy.documents import ExtProcConfiguration, Listen
from extproc.policy.names import Address, parse_address
from extproc.policy.resolved import Entry, Resolved, ServedBackend
from extproc.wire.listener import Listener, for_worker

LOOPBACK: Final = "127.0.0.1"
RESOLVERS: Final = Place(field="envoy.resolvers")

Upstreams = Mapping[str, Upstream]
"""By namespace/name of the Backend."""


def plan_of(resolved: Resolved) -> Plan:
    """The gateway that this configuration wants.

    Raises:
        ConfigError: it wants what a generated Envoy configuration does not serve.
    """
    settings = resolved.settings
    if settings.traffic_policy == "Allow":
        raise ConfigError(
            "the generated Envoy configuration does not serve `trafficPolicy: Allow`: write `Deny`, and a Backend a host",
            Place(field="trafficPolicy"),
        )
    carrying = resolved.upstream
    served = {str(one.backend): _upstream(one, carrying) for one in resolved.backends if not one.conflicted}
    hosts = tuple(_hosts(resolved, served))
    _check_clusters(served, hosts)
    plan = Plan(
        gateway=settings.gateway,
        listen=numeric(settings.envoy.listen, "envoy.listen"),
        admin=numeric(settings.envoy.admin, "envoy.admin"),
        sockets=tuple(sockets(settings)),
        request_body=resolved.needs.request_body,
        response_body=resolved.needs.response_body,
        max_body_bytes=resolved.needs.max_body_bytes,
        trailers=bool(resolved.request_trailers),
        budget=resolved.budget,
        upstreams=tuple(served.values()),
        hosts=hosts,
        system_ca=system_ca(),
        namespaces=(resolved.publishing.namespace,) if resolved.publishing else (),
        certificate=_certificate(resolved),
        resolvers=tuple(_resolver(one) for one in settings.envoy.resolvers),
        max_heap_bytes=settings.envoy.max_heap_bytes,
    )
    _check_addresses(plan)
    return plan


def _certificate(resolved: Resolved) -> Certificate | None:
    tls = resolved.settings.envoy.tls
    directory = resolved.directory.absolute()
    return Certificate(directory / tls.cert, directory / tls.key) if tls else None


def _resolver(text: str) -> Address:
    """As Envoy takes a DNS server: it could ask nobody for that one's address."""
    resolver = parse_address(text)
    try:
        ip_address(resolver.host)
    except ValueError:
        raise ConfigError(f"{text!r}: write a DNS server's address and port, such as 10.0.0.2:53", RESOLVERS) from None
    return resolver


def sockets(settings: ExtProcConfiguration) -> Iterator[Address]:
    """Where Envoy finds each worker: at the first listener that needs no certificate of Envoy's.

    Raises:
        ConfigError: each of them needs one.
    """
    listen = _reachable(settings)
    for index in range(settings.workers):
        own = for_worker(Listener(listen.address, None, listen.insecure), index, settings.workers)
        yield numeric(own.address, "listen")


def _reachable(settings: ExtProcConfiguration) -> Listen:
    for listen in sorted(settings.listen, key=lambda one: one.parsed.path is None):
        if listen.tls is None:
            return listen
    raise ConfigError(
        "each listener wants a client certificate, and this configuration has none for Envoy: add a listener on a Unix socket,"
        " or configure Envoy yourself",
        Place(field="listen"),
    )


def _hosts(resolved: Resolved, upstreams: Upstreams) -> Iterator[VirtualHost]:
    """The hosts that HTTPRoutes list, then those of Backends that no HTTPRoute's hostname covers."""
    for hostname, entries in resolved.hosts.items():
        yield VirtualHost((hostname,), tuple(_rule(entry, upstreams) for entry in entries))
    for host, served in resolved.by_host.items():
        if not any(pattern in resolved.hosts for pattern in matching.patterns(host)):
            name = str(served.backend)
            rule = Rule(f"Backend/{name}", Match(), ((upstreams[name], 1),), unread=_is_unread(served.chain))
            yield VirtualHost((host,), (rule,))


def _rule(entry: Entry, upstreams: Upstreams) -> Rule:
    rule = entry.rule
    destinations = tuple((upstreams[str(one.served.backend)], one.weight) for one in rule.destinations)
    found = rule.retry
    retry = Retry(found.attempts, found.codes, found.backoff) if found else None
    name, unread = f"HTTPRoute/{rule.route}/{rule.index}", all(_is_unread(one.chain) for one in rule.destinations)
    return Rule(name, _match(entry.match), destinations, retry, rule.fallback, unread)


def _is_unread(chain: Chain) -> bool:
    return not any(chain.at(phase) for phase in Phase if phase.has_body)


def _match(match: matching.Match) -> Match:
    return Match(match.exact or "", match.prefix or "", match.method or "", match.headers, match.query)


def _upstream(served: ServedBackend, carrying: frozenset[str]) -> Upstream:
    backend, tls = served.backend, served.fqdn.tls
    name = str(backend)
    cluster = name if name in backend.clusters else min(backend.clusters)
    upstream = Upstream(
        cluster,
        backend.host,
        backend.port,
        internal=served.internal,
        backend=name,
        upstream_pass=name in carrying,
    )
    if tls.mode == "NONE":
        return upstream
    ca, cert, key = (served.directory.absolute() / path if path else None for path in (tls.ca, tls.cert, tls.key))
    return replace(upstream, tls=Tls(tls.server_name or backend.host, ca, cert, key))


def _check_clusters(upstreams: Upstreams, hosts: tuple[VirtualHost, ...]) -> None:
    """No two clusters of one name, and none of another one's Backends."""
    shared = {(rule.fallback, rule.destinations) for host in hosts for rule in host.rules if rule.fallback}
    counts = Counter([EXT_PROC, *(one.cluster for one in upstreams.values()), *(name for name, _ in shared)])
    for name, _ in shared:
        if counts[name] > 1:
            raise ConfigError(
                f"the cluster {name!r} of a rule's Backends is also one of others: give each Backend a cluster of its own, and"
                " each list of Backends one that they share",
                Place(field="spec.clusters"),
            )
    for name, upstream in upstreams.items():
        if counts[upstream.cluster] > 1:
            raise ConfigError(
                f"Backend {name}: the cluster {upstream.cluster!r} is another one's too; leave `clusters` out, or add {name!r}",
                Place(field="spec.clusters"),
            )


def _check_addresses(plan: Plan) -> None:
    """Each has its own: Envoy takes a socket away from the server without a word."""
    admin, listen = plan.admin, plan.listen
    for field, own, others in (("envoy.admin", admin, (listen, *plan.sockets)), ("envoy.listen", listen, plan.sockets)):
        if own in others:
            raise ConfigError(f"another part of this gateway is at {own}: write another address", Place(field=field))


def numeric(text: str, field: str) -> Address:
    """An address as Envoy takes it: it resolves no names for what it listens on."""
    address = parse_address(text)
    if address.path is not None or address.host == "localhost":
        return address if address.path else replace(address, host=LOOPBACK)
    try:
        ip_address(address.host)
    except ValueError:
        raise ConfigError(
            f"{text!r}: Envoy listens on addresses, not on names: write 127.0.0.1, or 0.0.0.0", Place(field=field)
        ) from None
    return address
