"""Which rule of the HTTPRoutes a request meets: Gateway API's matches and their precedence.

Source: HTTPRouteRule.matches and HTTPRouteSpec.hostnames, https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
"""

from collections.abc import Iterator
from dataclasses import dataclass

from extproc.core.message import Request

Rank = tuple[bool, int, bool, int, int]


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


def _header(request: Request, name: str) -> str | None:
    """Several fields of one name are one list (RFC 9110 section 5.3), joined as Envoy joins them."""
    values = [value.decode("latin-1") for value in request.headers.values(name) if isinstance(value, bytes)]
    return ",".join(values) if values else None


def patterns(host: str) -> Iterator[str]:
    """What can match `host`, the most specific first: itself, then `*.` and ever less of its end."""
    yield host
    rest = host
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
