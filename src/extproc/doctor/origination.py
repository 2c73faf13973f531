"""Is the TLS that Envoy begins towards destinations verified? A credential goes to whoever answers there.

A trusted authority alone checks no name: any certificate of it would do (PROTOCOL 4.2).
"""

from collections.abc import Iterator
from typing import Final

from extproc.doctor.dump import Dump
from extproc.doctor.finding import Code, Finding
from extproc.doctor.roads import Manager
from extproc.doctor.tree import Json, kind, node, nodes, number, word
from extproc.envoy.clusters import HTTP_OPTIONS

HTTPS: Final = 443

AUTHORITIES: Final = (
    "trusted_ca", "ca_certificate_provider_instance", "system_root_certs", "verify_certificate_hash",
    "verify_certificate_spki", "custom_validator_config",
)  # fmt: skip
NAMES: Final = (
    "match_typed_subject_alt_names", "match_subject_alt_names", "verify_certificate_hash", "verify_certificate_spki",
    "custom_validator_config",
)  # fmt: skip
"""Fields of CertificateValidationContext by which a certificate is trusted, and by which it is the right one."""

WRAPPED: Final = 4
"""So deep may a transport socket be in others, as TLS is in that of the PROXY protocol."""


def of_origination(found: list[Manager], dump: Dump) -> Iterator[Finding]:
    """Every cluster that a route leads to."""
    names = {road.cluster for manager in found for road in manager.roads}
    for name in sorted({member for each in names for member in _members(each, dump)}):
        if cluster := dump.clusters.get(name):
            yield from of_cluster_tls(f"cluster {name}", cluster, dump)


def of_cluster_tls(where: str, cluster: Json, dump: Dump) -> Iterator[Finding]:
    """One of them."""
    found = list(_contexts(cluster))
    if not found and HTTPS in _ports(cluster, dump.hosts.get(word(cluster, "name"), ())):
        problem = f"it leads to port {HTTPS} without TLS: what is sent there can be read"
        yield Finding(Code.TLS_MISSING, where, problem, "add a transport_socket with an UpstreamTlsContext")
    options = node(cluster, "typed_extension_protocol_options", HTTP_OPTIONS, "upstream_http_protocol_options")
    for context in found:
        yield from _of_context(where, context, dump, by_host=options.get("auto_san_validation") is True)


def is_encrypted(cluster: Json) -> bool:
    return any(True for _ in _contexts(cluster))


def _of_context(where: str, context: Json, dump: Dump, *, by_host: bool) -> Iterator[Finding]:
    rules, unknown = _validation(node(context, "common_tls_context"), dump)
    lax = any(word(each, "trust_chain_verification") == "ACCEPT_UNTRUSTED" for each in rules)
    if lax or not (unknown or any(name in each for each in rules for name in AUTHORITIES)):
        problem = "its TLS trusts every certificate: whoever answers there gets the credential"
        yield Finding(Code.TLS_UNVERIFIED, where, problem, "add a validation_context with trusted_ca and the name")
    elif not (unknown or by_host or _names(context, rules)):
        problem = "its TLS trusts every certificate of its authority, whatever name is in it"
        remedy = "add match_typed_subject_alt_names, or auto_sni_san_validation"
        yield Finding(Code.TLS_NAME, where, problem, remedy)


def _names(context: Json, rules: list[Json]) -> bool:
    by_sni = context.get("auto_sni_san_validation") is True
    return by_sni or any(name in each for each in rules for name in NAMES)


def _validation(common: Json, dump: Dump) -> tuple[list[Json], bool]:
    """The rules that hold together, and whether there are some that came apart from the configuration and are not shown."""
    combined = node(common, "combined_validation_context")
    rules = [node(common, "validation_context"), node(combined, "default_validation_context")]
    wanted = {word(place, "validation_context_sds_secret_config", "name") for place in (common, combined) if place} - {
        ""
    }
    shown = [node(dump.secrets[name], "validation_context") for name in wanted if name in dump.secrets]
    return [*rules, *shown], len(shown) < len(wanted)


def _contexts(cluster: Json) -> Iterator[Json]:
    sockets = [node(cluster, "transport_socket")]
    sockets += [node(one, "transport_socket") for one in nodes(cluster, "transport_socket_matches")]
    for socket in sockets:
        config = node(socket, "typed_config")
        for _ in range(WRAPPED):
            if kind(config) == "UpstreamTlsContext":
                yield config
                break
            config = node(config, "transport_socket", "typed_config")


def _members(name: str, dump: Dump) -> Iterator[str]:
    """The cluster itself, or those that an aggregate or composite cluster stands for."""
    config = node(dump.clusters.get(name, {}), "cluster_type", "typed_config")
    told = config.get("clusters")
    members = told if isinstance(told, list) and kind(config) == "ClusterConfig" else []
    names = [each if isinstance(each, str) else word(each, "name") for each in members]
    yield from names or [name]


def _ports(cluster: Json, hosts: tuple[Json, ...]) -> set[float]:
    groups = nodes(cluster, "load_assignment", "endpoints")
    places = [
        node(one, "endpoint", "address", "socket_address") for group in groups for one in nodes(group, "lb_endpoints")
    ]
    places += [node(host, "address", "socket_address") for host in hosts]
    return {number(place, "port_value") for place in places}
