"""What an upstream pass finds in a request of the passes before it. Envoy keeps what they changed, and shows it in clear
(PROTOCOL 8): a credential of an earlier try is removed, one of the downstream pass stays and is shown to nobody.
"""

from typing import Final
from urllib.parse import unquote_plus, unquote_to_bytes

from extproc.core.headers import Headers, Value
from extproc.core.message import Request
from extproc.core.passport import Papers, Places
from extproc.core.secret import Secret, seal
from extproc.core.values import replace

SHORTEST: Final = 8
"""Bytes of a word that is looked for by itself in an answer."""

Withheld = tuple[Request, tuple[Secret, ...]]
"""A request, and what an answer must not echo."""


def withhold(request: Request, held: Places) -> Withheld:
    """`request` with references in the place of what the downstream pass injected. Unless somebody removes them, they stay as
    they are: nothing of them is in the answer to Envoy.
    """
    headers: list[tuple[str, Value]] = []
    echoes: list[Secret] = []
    for name, value in request.headers:
        if name in held.headers and isinstance(value, bytes):
            secret = seal(value)
            headers.append((name, secret))
            echoes += (secret, *_core(value))
        else:
            headers.append((name, value))
    path, hidden = _shown(request.path, held.query) if held.query else (request.path, ())
    found = replace(request, headers=Headers(headers), path=path, hidden_query=hidden)
    return found, (*echoes, *(secret for _, secret in hidden))


def clear(request: Request, left: Places, papers: Papers) -> Request:
    """`request` without what an earlier try may have left. Where several Backends are possible, nothing that the downstream
    pass set stays in such a place either: another one's try may have replaced it.
    """
    held = papers.held if len(papers.backends) == 1 else Places()
    kept = request.headers.without(left.headers - held.headers)
    query = unquote_plus(request.query).casefold()
    hidden = {name.casefold() for name, _ in request.hidden_query}
    found = [name for name in left.query - held.query if name in query or name in hidden]
    return replace(request, headers=kept).with_query(found, {})


def _core(value: bytes) -> list[Secret]:
    """The last word of a value by itself: of `Bearer x` an answer may echo the `x` alone."""
    word = value.rpartition(b" ")[2]
    return [seal(word)] if word != value and len(word) >= SHORTEST else []


def _shown(target: str, names: frozenset[str]) -> tuple[str, tuple[tuple[str, Secret], ...]]:
    """The target without the parameters of these names, and what they are."""
    base, mark, query = target.partition("?")
    parts = [(part, *part.partition("=")) for part in query.split("&")]
    hidden = [
        (unquote_plus(name), seal(unquote_to_bytes(value))) for _, name, _, value in parts if _folded(name) in names
    ]
    shown = "&".join(part for part, name, _, _ in parts if _folded(name) not in names)
    return (f"{base}{mark}{shown}" if shown or not hidden else base), tuple(hidden)


def _folded(name: str) -> str:
    return unquote_plus(name).strip().casefold()
