"""The HTTPRoutes of this Gateway, each rule with its matches and its Backends; what is not implemented is refused."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from extproc.core.chain import Chain
from extproc.core.engine import OURS
from extproc.core.headers import TOKEN
from extproc.core.message import is_normal
from extproc.core.peer import Route
from extproc.errors import Place
from extproc.policy.attach import Age, age
from extproc.policy.chains import Chains
from extproc.policy.documents import GROUP
from extproc.policy.findings import Findings
from extproc.policy.gateway_api import GROUP as GATEWAY_GROUP
from extproc.policy.gateway_api import BackendRef, HTTPRoute, PathMatch, RouteMatch, RouteRule, ValueMatch
from extproc.policy.hosts import route_hostname
from extproc.policy.matching import Match, Rank
from extproc.policy.places import Errors, Origin, Steps
from extproc.policy.read import Document, Documents
from extproc.policy.resolved import Destination, Entry, Rule, ServedBackend, ServedRoute

MIRROR: Final = "RequestMirror is not implemented: a mirror would receive an injected credential too; remove it"
REGULAR: Final = "RegularExpression is not implemented, so that no match takes longer than its request: use Exact{}"


def ours(documents: Documents, findings: Findings) -> list[Document[HTTPRoute]]:
    """The HTTPRoutes that count: a parentRef names this Gateway, and they are of its namespace."""
    settings = documents.configuration.model
    return [document for document in documents.routes if _is_ours(document, settings.gateway, findings)]


def _is_ours(document: Document[HTTPRoute], gateway: str, findings: Findings) -> bool:
    metadata = document.model.metadata
    parents = {f"{ref.namespace or metadata.namespace}/{ref.name}" for ref in document.model.spec.parent_refs}
    place = document.origin.place("spec", "parentRefs")
    if gateway not in parents:
        others = ", ".join(sorted(parents))
        findings.not_served(f"HTTPRoute {metadata} belongs to {others}, and this process serves {gateway}", place)
        return False
    if metadata.namespace != gateway.partition("/")[0]:
        message = f"HTTPRoute {metadata} is not of the Gateway's namespace: the Gateway {gateway} does not admit it"
        findings.not_served(message, place)
        return False
    return True


@dataclass(slots=True)
class Routes:
    """Reads HTTPRoutes. `backends` by namespace/name."""

    documents: Documents
    backends: Mapping[str, ServedBackend]
    errors: Errors
    _known: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._known = frozenset(str(one.model.metadata) for one in self.documents.backends)

    def check(self, document: Document[HTTPRoute]) -> None:
        """Everything about one route that needs no chain; what is wrong goes to `errors`."""
        spec, origin = document.model.spec, document.origin
        if not spec.hostnames:
            self.errors.add(
                "an HTTPRoute lists its hosts here: without any it would take every host",
                origin.place("spec", "hostnames"),
            )
        for index, hostname in enumerate(spec.hostnames):
            try:
                route_hostname(hostname)
            except ValueError as error:
                self.errors.add(str(error), origin.place("spec", "hostnames", index))
        for index, rule in enumerate(spec.rules):
            self._check_rule(document, rule, ("spec", "rules", index))

    def _check_rule(self, document: Document[HTTPRoute], rule: RouteRule, steps: Steps) -> None:
        origin = document.origin
        for index, found in enumerate(rule.filters):
            message = (
                MIRROR if found.type == "RequestMirror" else f"the filter {found.type} is not implemented: remove it"
            )
            self.errors.add(message, origin.place(*steps, "filters", index))
        for index, match in enumerate(rule.matches):
            for message, place in _wrong(match, origin, (*steps, "matches", index)):
                self.errors.add(message, place)
            self._check_visible(match, origin, (*steps, "matches", index, "headers"))
        for index, ref in enumerate(rule.backend_refs):
            self._check_ref(document, ref, (*steps, "backendRefs", index))

    def _check_visible(self, match: RouteMatch, origin: Origin, steps: Steps) -> None:
        """A header that is removed before we look would match for Envoy and never for us: we would judge by another rule."""
        removed = {name.lower() for name in self.documents.configuration.model.identity_headers}
        for index, one in enumerate(match.headers):
            if one.name.lower() in removed or one.name.lower().startswith(OURS):
                message = f"{one.name!r} is removed from every request before routes are matched: match another header"
                self.errors.add(message, origin.place(*steps, index))

    def _check_ref(self, document: Document[HTTPRoute], ref: BackendRef, steps: Steps) -> None:
        origin, namespace = document.origin, document.model.metadata.namespace
        name = _name(ref, namespace)
        if (ref.group, ref.kind) != (GROUP, "Backend"):
            shown = f"{ref.group or 'core'}/{ref.kind}"
            self.errors.add(f"a backendRef names a Backend of the group {GROUP}, not {shown}", origin.place(*steps))
        elif not self._granted(ref, namespace):
            self.errors.add(
                f"HTTPRoute {document.model.metadata} may not name the Backend {name}: its namespace has no ReferenceGrant"
                f" from HTTPRoutes of {namespace}",
                origin.place(*steps),
                "RefNotPermitted",
            )
        elif name not in self._known:
            self.errors.add(f"there is no Backend {name}", origin.place(*steps, "name"), "BackendNotFound")
        elif ref.port is not None and name in self.backends and ref.port != self.backends[name].backend.port:
            port = self.backends[name].backend.port
            self.errors.add(f"the Backend {name} has the port {port}", origin.place(*steps, "port"))

    def _granted(self, ref: BackendRef, namespace: str) -> bool:
        if ref.namespace in (None, namespace):
            return True
        grants = (one.model for one in self.documents.grants if one.model.metadata.namespace == ref.namespace)
        return any(
            any((a.group, a.kind, a.namespace) == (GATEWAY_GROUP, "HTTPRoute", namespace) for a in grant.spec.from_)
            and any((b.group, b.kind) == (GROUP, "Backend") and b.name in (None, ref.name) for b in grant.spec.to)
            for grant in grants
        )

    def serve(self, document: Document[HTTPRoute], chains: Chains) -> ServedRoute:
        """One checked route with its chains."""
        metadata, spec = document.model.metadata, document.model.spec
        route = Route(metadata.namespace, metadata.name)
        rules = tuple(self._rule(document, route, index, rule, chains) for index, rule in enumerate(spec.rules))
        hostnames = tuple(sorted({route_hostname(hostname) for hostname in spec.hostnames}))
        return ServedRoute(route, hostnames, rules, age(metadata, "HTTPRoute"), document.origin.place())

    def _rule(self, document: Document[HTTPRoute], route: Route, index: int, rule: RouteRule, chains: Chains) -> Rule:
        weights: dict[str, int] = {}
        for ref in rule.backend_refs:
            name = _name(ref, route.namespace)
            if ref.weight > 0 and not self.backends[name].conflicted:
                weights[name] = weights.get(name, 0) + ref.weight
        destinations = []
        for name, weight in weights.items():
            served = self.backends[name]
            chain = chains.chain(route, served.backend, served.fqdn)
            destinations.append(Destination(served, weight, chain))
        matches, fallback = tuple(map(compile_match, rule.matches)), ""
        if len(destinations) > 1:
            place = document.origin.place("spec", "rules", index, "backendRefs")
            fallback = self._fallback(destinations)
            self._judge_ambiguous(route, destinations, chains, place)
            self._judge_shared(route, destinations, chains, place, fallback)
        undecided = chains.chain(route, None) if fallback else Chain()
        return Rule(route, index, matches, tuple(destinations), rule.retry, fallback, undecided)

    def _fallback(self, destinations: list[Destination]) -> str:
        """The cluster that all of them share, where the upstream pass can tell at each try which it is of."""
        if not self.documents.configuration.model.upstream_pass:
            return ""
        return min(frozenset.intersection(*(one.served.backend.clusters for one in destinations)), default="")

    def _judge_ambiguous(self, route: Route, destinations: list[Destination], chains: Chains, place: Place) -> None:
        """Envoy chooses among several Backends, and may choose again at a retry: a credential of one could reach another."""
        for one in destinations:
            backend = one.served.backend
            for extension in chains.releasing(route, backend):
                self.errors.add(
                    f"this rule has several Backends, and {extension.attachment.title} releases a credential in"
                    " request-headers: use the phase backend-request, or one Backend to a rule",
                    place,
                    "AmbiguousBackend",
                )

    def _judge_shared(
        self, route: Route, destinations: list[Destination], chains: Chains, place: Place, fallback: str
    ) -> None:
        """Where a cluster is shared, the Backend is known at each try and not before."""
        owners: dict[str, str] = {}
        for one in destinations:
            backend = one.served.backend
            for extension in chains.of_each_try(route, backend) if fallback else ():
                self.errors.add(
                    f"the Backends of this rule share the cluster {fallback!r}, so each try may go to another one, and"
                    f" {extension.attachment.title} would have to know which before the first: let it run at connect,"
                    " backend-request or backend-response, attach it elsewhere, or leave `backend` out of its `when`",
                    place,
                    "AmbiguousBackend",
                )
            for cluster in sorted(backend.clusters - {fallback}):
                other = owners.setdefault(cluster, str(backend))
                if other != str(backend):
                    self.errors.add(
                        f"the Backends {other} and {backend} of this rule share the cluster {cluster!r}: nobody could tell"
                        " which one Envoy chose",
                        place,
                        "AmbiguousBackend",
                    )


def _name(ref: BackendRef, namespace: str) -> str:
    return f"{ref.namespace or namespace}/{ref.name}"


def _wrong(match: RouteMatch, origin: Origin, steps: Steps) -> Iterator[tuple[str, Place]]:
    path = match.path
    if path.type == "RegularExpression":
        yield REGULAR.format(" or PathPrefix"), origin.place(*steps, "path", "type")
    elif not _is_path(path):
        message = f"{path.value!r} is no path in normal form: write /segments, without query, dots and double slashes"
        yield message, origin.place(*steps, "path", "value")
    for name_of_list, values in (("headers", match.headers), ("queryParams", match.query_params)):
        seen = set[str]()
        for index, one in enumerate(values):
            place = origin.place(*steps, name_of_list, index)
            name = one.name.lower() if name_of_list == "headers" else one.name
            if one.type == "RegularExpression":
                yield REGULAR.format(""), place
            if name_of_list == "headers" and not TOKEN.fullmatch(name):
                yield f"{one.name!r} is not a header name", place
            if name in seen:
                yield f"{one.name!r} is matched twice: keep one", place
            seen.add(name)


def _is_path(path: PathMatch) -> bool:
    return path.value.startswith("/") and "?" not in path.value and "#" not in path.value and is_normal(path.value)


def compile_match(match: RouteMatch) -> Match:
    """A match of a rule, ready to be asked."""
    exact = match.path.value if match.path.type == "Exact" else None
    return Match(
        exact,
        None if exact is not None else match.path.value.rstrip("/"),
        match.method,
        tuple((one.name.lower(), one.value) for one in match.headers),
        _pairs(match.query_params),
    )


def _pairs(values: tuple[ValueMatch, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((one.name, one.value) for one in values)


def entries_by_host(routes: list[ServedRoute]) -> dict[str, tuple[Entry, ...]]:
    """For each listed hostname all matches of all routes that list it, in Gateway API's order of precedence."""
    ranked: dict[str, list[tuple[tuple[Rank, Age, int, int], Entry]]] = {}
    for route in routes:
        for rule in route.rules:
            for number, match in enumerate(rule.matches):
                key = match.rank, route.age, rule.index, number
                for hostname in route.hostnames:
                    ranked.setdefault(hostname, []).append((key, Entry(match, rule)))
    return {
        host: tuple(entry for _, entry in sorted(found, key=lambda one: one[0]))
        for host, found in sorted(ranked.items())
    }
