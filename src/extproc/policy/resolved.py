"""A configuration that was read, judged and put in order: what the engine asks, and what the commands show."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from extproc.core.chain import Chain
from extproc.core.engine import Selection
from extproc.core.link import Link
from extproc.core.message import Request
from extproc.core.passport import Attempt, Places
from extproc.core.peer import Backend, Route
from extproc.core.phase import UPSTREAM_PHASES, Phase
from extproc.core.publish import Publishing
from extproc.core.verdict import Respond, deny
from extproc.errors import Cause, Place
from extproc.policy.attach import Age
from extproc.policy.build import Extension
from extproc.policy.documents import FQDN, ExtProcConfiguration
from extproc.policy.findings import Finding
from extproc.policy.gateway_api import Retry
from extproc.policy.matching import Deciding, Match, patterns
from extproc.ports import Outside

DEFAULT_BODY_BYTES: Final = 1024 * 1024
NOWHERE: Final = frozenset[str]()
NO_RULE: Final = deny("no_backend", "no rule of an HTTPRoute that lists this host matches")


@dataclass(frozen=True, slots=True)
class ServedBackend:
    """A Backend of this configuration. `chain` is for requests that no HTTPRoute decides. A Backend that lost its hostname
    to another (`conflicted`) serves nothing. `internal`: it may be inside. Paths in `fqdn.tls` are relative to `directory`.
    """

    backend: Backend
    fqdn: FQDN
    directory: Path
    place: Place
    chain: Chain = field(default_factory=Chain)
    internal: bool = False
    conflicted: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """One Backend that a rule may send a request to, with the chain that the request then meets."""

    served: ServedBackend
    weight: int
    chain: Chain


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of an HTTPRoute. Without a destination its requests are denied.

    `fallback` is the cluster that all its Backends share, if they do: Envoy goes from one to the next with each try, so before
    the first try nobody knows which it will be, and `undecided` is the chain.
    """

    route: Route
    index: int
    matches: tuple[Match, ...]
    destinations: tuple[Destination, ...]
    retry: Retry | None = None
    fallback: str = ""
    undecided: Chain = field(default_factory=Chain)
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(str(one.served.backend) for one in self.destinations))

    def select(self, cluster: str, upstream: frozenset[str]) -> Selection | Respond:
        """With several destinations Envoy has chosen, and says by the cluster what; it may choose again at a retry. `upstream`
        are the Backends that have an upstream pass.
        """
        if not self.destinations:
            return deny("no_backend", f"rule {self.index} of {self.route} has no Backend")
        if self.fallback and cluster == self.fallback:
            return Selection(self.undecided, self.route, None, self.names)
        for one in self.destinations:
            if len(self.destinations) == 1 or cluster in one.served.backend.clusters:
                tries = NOWHERE if upstream.isdisjoint(self.names) else self.names
                return Selection(one.chain, self.route, one.served.backend, tries)
        return deny("backend_mismatch", f"cluster {cluster!r} is none of rule {self.index} of {self.route}")

    def select_again(self, upstream: frozenset[str]) -> Selection | Respond:
        """The same where Envoy is only about to choose: of several destinations nobody knows which it will be."""
        if not self.destinations:
            return deny("no_backend", f"rule {self.index} of {self.route} has no Backend")
        if self.fallback:
            return Selection(self.undecided, self.route, None, self.names)
        first, tries = self.destinations[0], NOWHERE if upstream.isdisjoint(self.names) else self.names
        return Selection(first.chain, self.route, first.served.backend if len(self.destinations) == 1 else None, tries)


@dataclass(frozen=True, slots=True)
class ServedRoute:
    """An HTTPRoute of this Gateway."""

    route: Route
    hostnames: tuple[str, ...]
    rules: tuple[Rule, ...]
    age: Age
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """One match of one rule."""

    match: Match
    rule: Rule


@dataclass(frozen=True, slots=True)
class Needs:
    """What the gateway must be configured for: bodies, and the largest one that an extension reads."""

    request_body: bool = False
    response_body: bool = False
    max_body_bytes: int = DEFAULT_BODY_BYTES


@dataclass(frozen=True, slots=True)
class Resolved:
    """The whole. Implements `extproc.core.engine.Policy` and `extproc.core.passport.Tries`.

    `hosts` are the hostnames that HTTPRoutes list (`a.example`, `*.example`), each with its entries in the order in which
    they are tried; `by_host` are the Backends of all other hosts. `extensions` are all that were built, in chains or not;
    `outside` is what they reach. `upstream` are the Backends (namespace/name) whose clusters carry the upstream filter.
    """

    settings: ExtProcConfiguration
    directory: Path
    backends: tuple[ServedBackend, ...]
    routes: tuple[ServedRoute, ...]
    hosts: Mapping[str, tuple[Entry, ...]]
    by_host: Mapping[str, ServedBackend]
    gateway_chain: Chain
    extensions: tuple[Extension, ...]
    findings: tuple[Finding, ...]
    needs: Needs
    outside: Outside | None = None
    gateway: str = field(init=False)
    budget: float = field(init=False)
    identity_headers: frozenset[str] = field(init=False)
    request_trailers: frozenset[str] = field(init=False)
    upstream: frozenset[str] = field(init=False)
    routing_headers: frozenset[str] = field(init=False)
    publishing: Publishing | None = field(init=False)
    _attempts: Mapping[tuple[Route | None, str], Attempt] = field(init=False, repr=False, compare=False)
    _deciding: Mapping[str, Deciding] = field(init=False, repr=False, compare=False)
    _clusters: frozenset[str] = field(init=False, repr=False, compare=False)
    _by_link: dict[int, Extension] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gateway", self.settings.gateway)
        object.__setattr__(self, "budget", self.settings.budget)
        object.__setattr__(self, "identity_headers", frozenset(self.settings.identity_headers))
        object.__setattr__(self, "request_trailers", frozenset(self.settings.request_trailers))
        object.__setattr__(self, "_by_link", {id(one.link): one for one in self.extensions})
        object.__setattr__(self, "upstream", frozenset(self._carriers()))
        reroutes = frozenset(name for one in self.extensions for name in one.link.reroutes)
        object.__setattr__(self, "routing_headers", reroutes)
        usage = self.settings.usage_metadata
        object.__setattr__(self, "publishing", Publishing(usage.namespace, usage.keys, usage.limit) if usage else None)
        object.__setattr__(self, "_attempts", self._all_attempts())
        deciding = {host: Deciding.by(entry.match for entry in entries) for host, entries in self.hosts.items()}
        object.__setattr__(self, "_deciding", deciding)
        clusters = frozenset(name for served in self.backends for name in served.backend.clusters)
        object.__setattr__(self, "_clusters", clusters)

    def select(self, request: Request, cluster: str) -> Selection | Respond:
        """The chain, route and Backend of a request, or its denial (DESIGN section 3, "Which Backend")."""
        host = self._listed(request)
        if host is None:
            found = self._by_host(request)
        else:
            rule = self._rule(host, request)
            found = rule.select(cluster, self.upstream) if isinstance(rule, Rule) else rule
        return self._elsewhere(found, cluster) or found

    def select_again(self, request: Request) -> Selection | Respond | None:
        """What a request meets for which Envoy chooses anew (`extproc.core.engine.Routing`)."""
        host = self._listed(request)
        if host is None or self.routing_headers.isdisjoint(self._deciding[host].headers):
            return None
        rule = self._rule(host, request)
        return rule.select_again(self.upstream) if isinstance(rule, Rule) else rule

    def _listed(self, request: Request) -> str | None:
        """The hostname under which HTTPRoutes list its host, and alone decide; as with Envoy's virtual hosts, the most specific
        one is final.
        """
        return next((name for name in patterns(request.host) if name in self.hosts), None) if self.hosts else None

    def _rule(self, host: str, request: Request) -> Rule | Respond:
        """The first rule that holds, or why nobody can be sure which it is."""
        refusal = self._deciding[host].refuse(request)
        return refusal or next((entry.rule for entry in self.hosts[host] if entry.match.holds(request)), NO_RULE)

    def _elsewhere(self, found: Selection | Respond, cluster: str) -> Respond | None:
        """The denial, if Envoy has chosen the cluster of another Backend, whose extensions would not run."""
        if cluster not in self._clusters or isinstance(found, Respond):
            return None
        any_of_several = found.backend is None and found.route is not None
        if any_of_several or (found.backend and cluster in found.backend.clusters):
            return None
        return deny("backend_mismatch", f"Envoy would send this to cluster {cluster!r}, which is another Backend's")

    def _by_host(self, request: Request) -> Selection | Respond:
        served = self.by_host.get(request.host)
        if served is not None:
            name = str(served.backend)
            return Selection(served.chain, None, served.backend, frozenset({name}) & self.upstream)
        if self.settings.traffic_policy == "Allow":
            return Selection(self.gateway_chain)
        return deny("no_backend", "no Backend has this host")

    def attempt(self, route: Route | None, backend: str) -> Attempt | None:
        """What a try at that Backend meets in the upstream pass; None if that route does not lead there."""
        return self._attempts.get((route, backend))

    def _carriers(self) -> Iterator[str]:
        """The Backends of chains with phases of the upstream pass; and those that a retry may choose after one of them, since
        what was set for the one must not reach the other.
        """
        yield from (str(served.backend) for served in self.by_host.values() if _is_upstream(served.chain))
        for rule in (rule for route in self.routes for rule in route.rules):
            if any(_is_upstream(one.chain) for one in rule.destinations):
                yield from rule.names

    def _all_attempts(self) -> dict[tuple[Route | None, str], Attempt]:
        beside = self._beside()
        return {
            (route, str(served.backend)): Attempt(chain, served.backend, _left(beside[route, str(served.backend)]))
            for route, served, chain in self.chains()
            if served is not None and str(served.backend) in self.upstream
        }

    def _beside(self) -> Mapping[tuple[Route | None, str], list[Chain]]:
        """The chains that tries of one exchange may meet, by its route and one of the Backends that they may go to."""
        found: dict[tuple[Route | None, str], list[Chain]] = {
            (None, str(served.backend)): [served.chain] for served in self.by_host.values()
        }
        for rule in (rule for route in self.routes for rule in route.rules):
            for name in rule.names:
                found.setdefault((rule.route, name), []).extend(one.chain for one in rule.destinations)
        return found

    @property
    def required(self) -> frozenset[str]:
        """The dependencies without which some exchange is denied: those of extensions that are not open for their loss."""
        closed = [one for one in self.extensions if Cause.UNAVAILABLE not in one.link.covers]
        return frozenset(name for one in closed for name in one.needs)

    def chains(self) -> Iterator[tuple[Route | None, ServedBackend | None, Chain]]:
        """Every chain that an exchange can meet, each once."""
        if self.settings.traffic_policy == "Allow":
            yield None, None, self.gateway_chain
        for served in self.by_host.values():
            yield None, served, served.chain
        seen = set[tuple[Route, Backend]]()
        for route in self.routes:
            if undecided := next((rule.undecided for rule in route.rules if rule.fallback), None):
                yield route.route, None, undecided
            for one in (destination for rule in route.rules for destination in rule.destinations):
                key = route.route, one.served.backend
                if key not in seen:
                    seen.add(key)
                    yield route.route, one.served, one.chain

    def extension_of(self, link: Link) -> Extension:
        """What a link of these chains was made from. Raises: KeyError, for a link of another configuration."""
        return self._by_link[id(link)]


def _is_upstream(chain: Chain) -> bool:
    return any(chain.at(phase) for phase in UPSTREAM_PHASES)


def _left(chains: Iterable[Chain]) -> Places:
    """Where extensions of the upstream pass put credentials, as their filters say (`sets_headers`, `sets_query`)."""
    filters = [link.filter for chain in chains for link in chain.links if link.phases & UPSTREAM_PHASES]
    headers = (name.lower() for found in filters for name in getattr(found, "sets_headers", ()))
    query = (name.casefold() for found in filters for name in getattr(found, "sets_query", ()))
    return Places(frozenset(headers), frozenset(query))


def needs_of(chains: list[Chain]) -> Needs:
    """What these chains, all together, want of the gateway."""
    reading = [link for chain in chains for phase in Phase if phase.has_body for link in chain.at(phase)]
    sizes = [getattr(link.filter, "max_body_bytes", 0) for link in reading]
    return Needs(
        any(chain.at(Phase.REQUEST_BODY) for chain in chains),
        any(chain.at(Phase.RESPONSE_BODY) for chain in chains),
        max(sizes, default=0) or DEFAULT_BODY_BYTES,
    )
