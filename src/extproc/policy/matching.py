"""Which rule of the HTTPRoutes a request meets: Gateway API's matches and their precedence.

Source: HTTPRouteRule.matches and HTTPRouteSpec.hostnames, https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import unquote_plus

from extproc.core.message import Request
from extproc.core.verdict import Respond, deny

Rank = tuple[bool, int, bool, int, int]

METHOD_HEADERS: Final = ("x-http-method-override", "x-http-method", "x-method-override")
METHOD_PARAMETER: Final = "$httpmethod"
"""Where some servers look for the method that is really meant, Google's among them
(https://cloud.google.com/apis/docs/system-parameters)."""

TWICE: Final = deny("bad_request", "a header that routes are chosen by is there more than once")
TWO_QUERIES: Final = deny("bad_request", "a query parameter that routes are chosen by can be read in two ways")
OVERRIDDEN: Final = deny("bad_request", "routes are chosen by the method, and the request names another one as well")


@dataclass(frozen=True, slots=True)
class Match:
    """What a request must be, all of it. One of `exact` and `prefix` is set; `prefix` has no slash at its end and is matched
    by whole segments, so that the empty one is any path. Names of headers are lower case.
    """

    exact: str | None = None
    prefix: str | None = ""
    method: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()

    def holds(self, request: Request) -> bool:
        return (
            (self.method is None or self.method == request.method)
            and self._path(request.path_only)
            and all(_header(request, name) == value for name, value in self.headers)
            and (not self.query or self._query(request.query))
        )

    def _path(self, path: str) -> bool:
        if self.exact is not None:
            return path == self.exact
        return path == self.prefix or path.startswith(f"{self.prefix}/")

    def _query(self, query: str) -> bool:
        """By the first of the parameters of a name, undecoded, as Envoy compares them."""
        found: dict[str, str] = {}
        for parameter in query.split("&"):
            name, _, value = parameter.partition("=")
            found.setdefault(name, value)
        return all(found.get(name) == value for name, value in self.query)

    @property
    def rank(self) -> Rank:
        """Sorts before what it takes precedence over: exact paths, longer prefixes, a method, more headers, more parameters."""
        length = len(self.exact if self.exact is not None else self.prefix or "")
        return self.exact is None, -length, self.method is None, -len(self.headers), -len(self.query)


@dataclass(frozen=True, slots=True)
class Deciding:
    """What of a request the rules for one host are chosen by, besides its path: `headers`, the method or not, and parameters of
    the query, as rules spell them (`query`) and what that means.
    """

    headers: frozenset[str] = frozenset()
    method: bool = False
    query: frozenset[tuple[str, str]] = frozenset()
    meant: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def by(cls, matches: Iterable[Match]) -> Self:
        every = tuple(matches)
        names = frozenset(name for match in every for name, _ in match.headers)
        query = frozenset(pair for match in every for pair in match.query)
        meant = {name: frozenset(unquote_plus(value) for key, value in query if key == name) for name, _ in query}
        return cls(names, any(match.method is not None for match in every), query, meant)

    def refuse(self, request: Request) -> Respond | None:
        """The denial of a request that Envoy or its destination could read differently, and so lead around the extensions of a
        rule. Of several values of a header some Envoys match each by itself (1.40), others all of them joined.
        """
        if any(len(request.headers.values(name)) > 1 for name in self.headers):
            return TWICE
        if self.query and self._has_two_readings(request.query):
            return TWO_QUERIES
        return OVERRIDDEN if self.method and names_another_method(request) else None

    def _has_two_readings(self, query: str) -> bool:
        """Envoy compares the first of a name, and no escapes; who answers reads them, and perhaps the last."""
        seen = set[str]()
        for name, value in _parameters(query):
            plain = unquote_plus(name)
            if plain not in self.meant:
                continue
            if plain in seen or (unquote_plus(value) in self.meant[plain] and (name, value) not in self.query):
                return True
            seen.add(plain)
        return False


def names_another_method(request: Request) -> bool:
    """Whether its destination may take another method for meant than the one that rules are matched by."""
    named = [value for name in METHOD_HEADERS for value in request.headers.values(name)]
    if any(value != request.method.encode() for value in named):
        return True
    pairs = ((unquote_plus(name), unquote_plus(value)) for name, value in _parameters(request.query))
    return any(name.strip().casefold() == METHOD_PARAMETER and value != request.method for name, value in pairs)


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    """As they are written. Some servers split at `;` as well."""
    for parameter in query.replace(";", "&").split("&") if query else ():
        name, _, value = parameter.partition("=")
        yield name, value


def _header(request: Request, name: str) -> str | None:
    """Its only value: of several nobody knows which Envoy compares (TWICE). Envoy compares bytes, and a rule's are UTF-8."""
    values = request.headers.values(name)
    found = values[0] if len(values) == 1 else None
    return found.decode("utf-8", "surrogateescape") if isinstance(found, bytes) else None


def patterns(host: str) -> Iterator[str]:
    """What can match `host`, the most specific first: itself, then `*.` and ever less of its end."""
    yield host
    rest = host
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
