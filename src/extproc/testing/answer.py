"""What the engine answers, in words a test can compare."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from extproc.core.event import Outcome
from extproc.core.headers import Value, text
from extproc.core.state import check_headers

Shown = str | tuple[str, ...]
"""One value of a header, or several; as Latin-1 text, a secret as `***`."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """The message goes on. Two are equal if all changes are: `go_on()` is a message that nobody touched. `end` is there for
    a piece of a body that is streamed both ways; `reroute` says that Envoy chooses the route anew.
    """

    body: bytes | None = None
    end: bool | None = None
    reroute: bool = False
    set: Mapping[str, Shown] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    path: str | None = None
    outcome: Outcome | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Immediate:
    """The client is answered at once. What a test leaves out (`code`, `headers`) is not compared; headers that it names
    must be there with these values.
    """

    status: int
    code: str | None = None
    headers: Mapping[str, Shown] | None = None
    outcome: Outcome | None = field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Immediate):
            return NotImplemented
        codes = {self.code, other.code} - {None}
        mine, others = self.headers or {}, other.headers or {}
        wanted, given = (mine, others) if len(mine) <= len(others) else (others, mine)
        return self.status == other.status and len(codes) <= 1 and wanted.items() <= given.items()

    __hash__ = None  # type: ignore[assignment] # two answers that equal a third need not equal each other


Answer = GoOn | Immediate


def go_on(
    body: bytes | None = None,
    set: Mapping[str, Shown] | None = None,  # noqa: A002 - it reads as what it is in a test
    removed: Iterable[str] = (),
    path: str | None = None,
    end: bool | None = None,
    reroute: bool = False,
) -> GoOn:
    """The message goes on with these changes and no others."""
    return GoOn(body, end, reroute, dict(set or {}), frozenset(removed), path)


def immediate(status: int, code: str | None = None, headers: Mapping[str, Shown] | None = None) -> Immediate:
    """The client gets this status; the code and these headers too, if they are named."""
    return Immediate(status, code, headers)


def answer(outcome: Outcome) -> Answer:
    """An outcome as an answer; the outcome itself (modes, metadata) stays reachable."""
    if found := outcome.respond:
        shown = {name: _shown(values) for name, values in check_headers(found.headers)}
        return Immediate(found.status, found.code, shown, outcome)
    change = outcome.change
    shown = {name: _shown(values) for name, values in change.set}
    return GoOn(outcome.body, outcome.end, outcome.reroute, shown, frozenset(change.remove), _path(outcome), outcome)


def _shown(values: tuple[Value, ...]) -> Shown:
    texts = tuple(map(text, values))
    return texts[0] if len(texts) == 1 else texts


def _path(outcome: Outcome) -> str | None:
    """The new request target; parameters whose values are secrets stand at its end, as the codec puts them."""
    if outcome.path is None or not outcome.hidden_query:
        return outcome.path
    hidden = "&".join(f"{quote(name, safe='')}=***" for name, _ in outcome.hidden_query)
    return f"{outcome.path}{'&' if '?' in outcome.path else '?'}{hidden}"
