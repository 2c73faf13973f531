"""The request and the response of an exchange, as values; and what makes a request one that can be routed safely."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Final, Self
from urllib.parse import quote, unquote_plus

from extproc.core.headers import Headers, text
from extproc.core.secret import Secret
from extproc.core.values import replace, swift
from extproc.core.verdict import Respond, deny

HOST: Final = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*|\[[0-9a-f:.]+\])"
)
PATH: Final = re.compile(r"[!$%&'()*+,./:;=@A-Z_a-z~0-9|^`\"<>{}\[\]-]*")
QUERY: Final = re.compile(r"[!\"$-~]*")
NOT_NORMAL: Final = re.compile(
    r"//|\\|/\.{1,2}(?=/|;|$)|%(?:[01].|7[fF]|2[fF]|5[cC]|2[dDeE]|3\d|4[1-9a-fA-F]|5[\daAfF]|6[1-9a-fA-F]|7[\daAeE])|%(?![\da-fA-F]{2})"
)
"""What RFC 3986 section 6.2.2 or the gateway's own normalisation would rewrite: empty and dot segments, backslashes, encoded
slashes, controls and unreserved characters, broken escapes. Two readers could see two paths."""

METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 9.1: a token. One with a space in it would begin another request line at the upstream."""

PSEUDO: Final = ":"

LONGEST_AUTHORITY: Final = 320
"""Characters of a name (253), a trailing dot and a port, and then some: what is remembered by it stays small."""


@swift
@dataclass(frozen=True, slots=True)
class Request:
    """One request as the chain sees it. `path` is the whole target, query included; `host` is normalised for matching.

    `hidden_query` are query parameters whose values only the codec resolves; they follow the visible ones.
    """

    method: str
    scheme: str
    authority: str
    host: str
    path: str
    headers: Headers
    body: bytes | None = field(default=None, repr=False)
    hidden_query: tuple[tuple[str, Secret], ...] = ()

    @property
    def path_only(self) -> str:
        return self.path.partition("?")[0]

    @property
    def query(self) -> str:
        return self.path.partition("?")[2]

    def with_query(self, remove: Iterable[str], put: Mapping[str, str | Secret]) -> Self:
        """This request without the query parameters named in `remove` and `put` (whatever their letter case or
        escapes), and with those of `put` at the end.
        """
        if not put and not self.hidden_query and "?" not in self.path:
            return self
        gone = {name.casefold() for name in (*remove, *put)}
        if not gone:
            return self
        base, _, query = self.path.partition("?")
        kept = [part for part in _parameters(query, gone) if part]
        shown = [
            f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in put.items() if isinstance(value, str)
        ]
        hidden = [(name, value) for name, value in put.items() if isinstance(value, Secret)]
        joined = "&".join([*kept, *shown])
        return replace(
            self,
            path=f"{base}?{joined}" if joined or (query == "" and self.path.endswith("?")) else base,
            hidden_query=(*(pair for pair in self.hidden_query if pair[0].casefold() not in gone), *hidden),
        )


@swift
@dataclass(frozen=True, slots=True)
class Response:
    """One response. `by_envoy`: no upstream gave it, Envoy did in its place."""

    status: int
    headers: Headers
    body: bytes | None = field(default=None, repr=False)
    by_envoy: bool = False


Message = Request | Response


def read_request(fields: Headers) -> Request | Respond:
    """The request that arrived, or why it cannot be routed safely: 400 `bad_request`, and 403 `forbidden` for methods that
    echo what they receive or open a tunnel (DESIGN sections 3 and 4).
    """
    pseudo, headers = _split(fields)
    method = pseudo.get(":method", "")
    if method.upper() in ("TRACE", "TRACK", "CONNECT"):
        return deny("forbidden", f"method {method.upper()} is not served")
    if not METHOD.fullmatch(method):
        return deny("bad_request", "the method is no token")
    authority, path = pseudo.get(":authority", ""), pseudo.get(":path", "")
    host = normal_host(authority) if len(authority) <= LONGEST_AUTHORITY else None
    if host is None:
        return deny("bad_request", "the host is empty or has an illegal character")
    if not is_normal(path) and not (method == "OPTIONS" and path == "*"):
        return deny("bad_request", "the path is not in normal form")
    return Request(method, pseudo.get(":scheme", ""), authority, host, path, headers)


def read_response(fields: Headers) -> Response:
    """The response that Envoy tells of. A status that is no number reads 0."""
    pseudo, headers = _split(fields)
    status = pseudo.get(":status", "")
    return Response(int(status) if status.isascii() and status.isdigit() else 0, headers)


def _split(fields: Headers) -> tuple[dict[str, str], Headers]:
    """The pseudo fields, and the others. A pseudo field that comes twice reads as both, joined: no valid value of any."""
    others = [each for each in fields if each[0][:1] != PSEUDO]
    number = len(fields) - len(others)
    found = [each for each in islice(fields, number) if each[0][:1] == PSEUDO]  # Envoy has them in front
    if len(found) < number:
        found = [each for each in fields if each[0][:1] == PSEUDO]
    pseudo: dict[str, str] = {}
    for name, value in found:
        pseudo[name] = f"{pseudo[name]}, {text(value)}" if name in pseudo else text(value)
    return pseudo, Headers(others)


@lru_cache(maxsize=4096)
def normal_host(authority: str) -> str | None:
    """`authority` for matching: lower case, without port and one trailing dot. None if it is no single host."""
    host = authority.lower()
    name, colon, port = host.rpartition(":")
    if colon and not host.endswith("]"):
        if not (port.isascii() and port.isdigit() and len(port) <= 5):
            return None
        host = name
    host = host.removesuffix(".")
    return host if HOST.fullmatch(host) else None


def is_normal(path: str) -> bool:
    """Whether every reader of `path` sees the same one. The query is not a path, but it holds no `#` and no space either."""
    base, _, query = path.partition("?")
    return (
        base.startswith("/")
        and PATH.fullmatch(base) is not None
        and NOT_NORMAL.search(base) is None
        and QUERY.fullmatch(query) is not None
    )


def _parameters(query: str, gone: set[str]) -> Iterable[str]:
    """The parameters to keep. Some servers split at `;` as well, and some strip white space: a name may hide behind both."""
    for parameter in query.split("&"):
        yield ";".join(
            part for part in parameter.split(";") if unquote_plus(part.partition("=")[0]).strip().casefold() not in gone
        )
