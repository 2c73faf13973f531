"""An event stream on its way to the client: each event leaves at once, but for the end of a text that cannot be judged yet."""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from extproc import Continue, Verdict
from extproc.core.filter import EndOfBody
from extproc.errors import Malformed, TooLarge
from extproc_filters.pii import dialects, pieces
from extproc_filters.pii.alone import alone, place_alone
from extproc_filters.pii.decoding import Pieces
from extproc_filters.pii.listed import MOST_TEXTS, replaced
from extproc_filters.pii.media import Coding
from extproc_filters.pii.passage import Passage, Stop, Writing
from extproc_filters.pii.paths import Path
from extproc_filters.pii.pieces import Delta, Stream, text_at
from extproc_filters.pii.work import FEW, SLICE, Work
from extproc_filters.sse import Event, Events, event

STEP: Final = 4096
"""What an event costs besides its bytes, in bytes: to take it apart and put it together again is a tenth of a millisecond."""

NO_JSON: Final = object()

LINES: Final = re.compile(rb"\r\n|\r|\n")
NAKED: Final = Event(b"data: \n\n", b"", "")
PLAIN: Final = re.compile(rb"|data|data:.*|event: ?[a-z_.]{1,64}|:", re.DOTALL)
"""Lines in which nobody hides anything, or that are looked at anyway."""

BUDGET: Final = 4 * SLICE
"""Work that one piece may bring about at once; more is done with the next, or at the end."""


@dataclass(slots=True)
class Live:
    """A text that is being written; `alone` is an event that can bring nothing but a piece of it, at `place`."""

    writing: Writing
    alone: dict[str, Any] = field(default_factory=dict)
    place: Path = ()
    name: str = ""


class Streamed:
    """A BodyTransformer for text/event-stream. `limit`: bytes of the largest event, and the most that the stream may grow."""

    def __init__(self, passage: Passage, coding: Coding | None, limit: int) -> None:
        self._passage = passage
        self._pieces = Pieces(coding, limit)
        self._events = Events(limit)
        self._limit = limit
        self._waiting: deque[bytes] = deque()
        self._backlog = 0
        self._texts: dict[Stream, Live] = {}
        self._growth = 0
        self._work: Iterator[tuple[bytes, int]] | None = None

    def __repr__(self) -> str:
        return f"Streamed({len(self._texts)} texts)"

    @property
    def behind(self) -> bool:
        """Whether something that has come has not been worked on."""
        return self._work is not None

    def feed(self, chunk: bytes) -> bytes:
        """Raises: TooLarge, Malformed; EndOfBody."""
        self._waiting.append(chunk)
        self._backlog += len(chunk)
        if self._backlog > self._limit + SLICE:
            raise TooLarge("more has come of the stream than can be worked on")
        left: list[bytes] = []
        cost = 0
        self._work = self._work or self._through()
        try:
            for out, spent in self._work:
                left.append(out)
                cost += spent
                if cost >= BUDGET:
                    return b"".join(left)
        except Stop as stop:
            raise EndOfBody(b"".join(left) + _told(stop)) from None
        self._work = None
        return b"".join(left)

    def finish(self) -> Iterator[bytes]:
        """Raises: TooLarge, Malformed."""
        try:
            for out, _ in self._work or self._through():
                yield out
            self._work = None
            self._pieces.end()
            yield from self._ended()
        except Stop as stop:
            yield _told(stop)

    def conclude(self) -> Verdict:
        return Continue(report=self._passage.report())

    def _through(self) -> Iterator[tuple[bytes, int]]:
        """What leaves of what has come, piece by piece, with the work that it took."""
        while self._waiting:
            chunk = self._waiting.popleft()
            for piece in self._pieces.take(chunk):
                for each in self._events.feed(piece):
                    yield from self._one(each)
            self._backlog -= len(chunk)

    def _one(self, each: Event) -> Iterator[tuple[bytes, int]]:
        """What leaves for one event."""
        left: list[bytes] = []
        for _ in self._passed(each, left):
            yield b"", SLICE
        out = b"".join(left)
        self._growth += len(out) - len(each.raw)
        if self._growth > self._limit:
            raise TooLarge(f"the answer has grown by more than {self._limit} bytes")
        yield out, len(each.raw) + STEP

    def _ended(self) -> Iterator[bytes]:
        """The last event, if nothing ended it, and what was held back."""
        last = b""
        for each in self._events.close():
            for out, _ in self._one(each):
                last = last or out
                yield out
        rest: list[bytes] = []
        yield from (b"" for _ in self._flush(pieces.ALL, rest))
        if last and rest and not last.endswith((b"\n\n", b"\r\r", b"\n\r\n")):
            yield b"\n\n"
        yield b"".join(rest)

    def _passed(self, each: Event, left: list[bytes]) -> Work[None]:
        """The event as it leaves, and before it what was held back of texts that have ended."""
        framed = not self._passage.strict or (yield from self._framed(each))
        if not framed:
            each = Event(b"" if each.data is None else event(each.data, NAKED), each.data, "")
        if each.data is None:
            left.append(each.raw)
            return
        try:
            text = each.data.decode()
        except UnicodeDecodeError:
            if self._passage.strict:
                raise Malformed("an event of the stream is not UTF-8") from None
            left.append(each.raw)
            return
        document = _parsed(text)
        if document is not NO_JSON:
            new = yield from self._document(each, text, document, left)
        else:
            if text.lstrip()[:1] in (
                "{",
                "[",
            ):  # [DONE], or JSON that cannot be read: whose text it goes on with is unknown
                yield from self._flush(pieces.ALL, left)
            new = yield from self._passage.text(text)
        left.append(each.raw if new == text else event(new.encode(), each))

    def _framed(self, each: Event) -> Work[bool]:
        """Whether the lines of an event that are no data may pass: comments, ids, names."""
        others = [line for line in LINES.split(each.raw) if not PLAIN.fullmatch(line)]
        return not others or (yield from self._passage.clean(b"\n".join(others).decode("utf-8", "replace")))

    def _document(self, each: Event, text: str, document: Any, left: list[bytes]) -> Work[str]:
        said = dialects.read(document)
        new: dict[Path, str] = {}
        last: dict[Stream, Path] = {}
        for delta in said.deltas:
            live = self._live(delta)
            if live is not None:
                new[delta.place] = yield from live.writing.push(text_at(document, delta.place))
                if live.writing.holds:
                    live.alone, live.place = alone(document, delta.place, ""), place_alone(delta.place)
                    live.name = each.name[: pieces.LONGEST_NAME]
                last[delta.stream] = delta.place
        if said.ended:
            rest = yield from self._flush(said.ended, left, last)
            for place, held in rest.items():
                new[place] += held
        changed = {place: piece for place, piece in new.items() if piece != text_at(document, place)}
        whole = yield from self._passage.document(text, frozenset(new), whole=said.whole)
        return (yield from replaced(whole, changed)) if changed else whole

    def _live(self, delta: Delta) -> Live | None:
        """The text that `delta` is a piece of. Raises: TooLarge, if too many are being written at once."""
        if delta.stream not in self._texts:
            writing = self._passage.writing(delta)
            if writing is None:
                return None
            if len(self._texts) >= MOST_TEXTS:
                raise TooLarge(f"the stream has more than {MOST_TEXTS} texts at once")
            self._texts[delta.stream] = Live(writing)
        return self._texts[delta.stream]

    def _flush(
        self, ended: Iterable[Stream], left: list[bytes], last: Mapping[Stream, Path] | None = None
    ) -> Work[dict[Path, str]]:
        """The texts that `ended` names are over. What was held back of one leaves with its last piece, where that is in the
        event at hand (`last` says where; it is what is returned), else in an event of its own.
        """
        rest: dict[Path, str] = {}
        for each in ended:
            if len(self._texts) > FEW:
                yield
            over = [each] if each in self._texts else [text for text in self._texts if text[: len(each)] == each]
            for stream in over:
                live = self._texts.pop(stream)
                held = yield from live.writing.flush()
                if held and last and stream in last:
                    rest[last[stream]] = held
                elif held:
                    left.append((yield from self._alone(live, held)))
        return rest

    def _alone(self, live: Live, held: str) -> Work[bytes]:
        """An event in the shape of the last one of a text that brings nothing but `held`; the rest of it is judged as any."""
        text = orjson.dumps(alone(live.alone, live.place, held)).decode()
        text = yield from self._passage.document(text, frozenset({live.place}), whole=True)
        name = f"event: {live.name}\n" if live.name and PLAIN.fullmatch(f"event: {live.name}".encode()) else ""
        return f"{name}data: {text}\n\n".encode()


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return NO_JSON


def _told(stop: Stop) -> bytes:
    return b"data: " + stop.last + b"\n\n"
