"""A body that passes piece by piece through the extensions that want to see it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from extproc.core.chain import UNAUTHENTICATED, Chain, Denial, Turn, attempt, defect, judge
from extproc.core.exchange import Exchange
from extproc.core.filter import BodyTransformer, EndOfBody, Reading
from extproc.core.link import Link, Pace
from extproc.core.phase import Phase
from extproc.core.state import State
from extproc.core.values import replace
from extproc.core.verdict import Continue, Verdict, answer_to
from extproc.core.whole import BITE, Rests
from extproc.errors import Cause, Defect, Failure, TimedOut


class Broken(Exception):
    """The body cannot go on. `state` is what was known when that was found at its end."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.respond.code)
        self.denial = denial
        self.state: State | None = None


@dataclass(slots=True)
class Stage:
    """One extension's work on the body. `held` is what passes if it fails open: what went in before anything came out; None if
    that cannot be. `spent` are the seconds of the message that is worked on, `seconds` all of them; it `opened` at this time.
    """

    link: Link
    transformer: BodyTransformer
    watches: bool
    held: bytearray | None = field(repr=False)
    begun: bool = False
    passes: bool = False
    spent: float = 0.0
    seconds: float = 0.0
    opened: float = 0.0

    behind: bool = False

    def feed(self, piece: bytes) -> bytes:
        """What may leave of at most BITE bytes. If it is `behind` then, it has more work to do on what it has.

        Raises: what the transformer raises; Defect.
        """
        if self.passes:
            return piece
        try:
            given = self.transformer.feed(piece)
        except EndOfBody as end:
            if self.watches:
                raise Defect("it only watches, and ended the body") from None
            self._given(end.last)
            raise
        self.behind = bool(getattr(self.transformer, "behind", False))
        return self._given(piece if self.watches else given)

    def rest(self) -> Iterator[bytes]:
        """What is left at the end, in slices of work. Raises: what the transformer raises; Defect."""
        if self.passes:
            return
        try:
            for given in self.transformer.finish():
                yield b"" if self.watches else self._given(given)
        except EndOfBody:
            raise Defect("a body that has ended cannot be ended") from None

    def check_time(self) -> None:
        """Raises: TimedOut, if the piece that is worked on has taken too long already."""
        if self.spent > self.link.timeout:
            raise TimedOut(f"the work on one piece took more than {self.link.timeout:g} s")

    def pass_over(self) -> bytes | None:
        """What passes unseen if this stage is passed over from here on; None if it is too late."""
        if self.held is None:
            return None
        self.passes, self.behind, unseen = True, False, bytes(self.held)
        self.held = None
        return unseen

    def _given(self, piece: bytes) -> bytes:
        """`piece`, noted: after the first byte nothing is open any more, nor if more was held than Envoy would buffer.

        Raises: Defect.
        """
        if not isinstance(piece, bytes):
            raise Defect(f"a {type(piece).__name__} is no piece of a body")
        self.begun = self.begun or bool(piece)
        if self.begun or (self.held is not None and self.link.room is not None and len(self.held) > self.link.room):
            self.held = None
        return piece


@dataclass(slots=True)
class Pipe:
    """The stages of one body, in the order in which it passes them. `ended`: nothing more leaves."""

    phase: Phase
    stages: list[Stage] = field(default_factory=list)
    ended: bool = False
    _rests: Rests | None = field(default=None, repr=False)

    @property
    def rewrites(self) -> bool:
        return not all(stage.watches for stage in self.stages)

    async def feed(self, piece: bytes, turn: Turn, *, last: bool) -> bytes:
        """What may leave of the next piece; all that is left, with the last. Raises: Broken."""
        for stage in self.stages:
            stage.spent = 0.0
        self._rests = None
        given = await self._push(0, piece, turn)
        if last and not self.ended:
            given += await self._finish(0, turn)
            self.ended = True
        return given

    def conclude(self, state: State, turn: Turn) -> State:
        """`state` with what was found. Raises: Broken."""
        while self.stages:
            try:
                state = self._conclude(self.stages.pop(0), state, turn, "continue")
            except Broken as error:
                error.state = self.break_off(state, turn)
                raise
        return state

    def break_off(self, state: State, turn: Turn) -> State:
        """There is no more to come and nobody to send it to: `state` with what was found so far, where that can be had."""
        self.ended = True
        while self.stages:
            try:
                state = self._conclude(self.stages.pop(0), state, turn, "unfinished")
            except Broken:
                continue
        return state

    async def _push(self, index: int, data: bytes, turn: Turn) -> bytes:
        """`data` through the stages from `index` on."""
        if index == len(self.stages):
            return data
        given: list[bytes] = []
        for start in range(0, len(data), BITE):
            if start:
                await self._rest(turn)
            given.append(await self._bite(index, data[start : start + BITE], turn))
            while self.stages[index].behind and not self.ended:
                await self._rest(turn)
                given.append(await self._bite(index, b"", turn))
        return b"".join(given)

    async def _rest(self, turn: Turn) -> None:
        """What is small enough for one bite never asks."""
        self._rests = self._rests or Rests(turn.pace)
        await self._rests.after(BITE)

    async def _bite(self, index: int, data: bytes, turn: Turn) -> bytes:
        """At most BITE bytes through the stages from `index` on."""
        if self.ended:
            return b""
        stage = self.stages[index]
        if stage.held is not None:
            stage.held += data  # whatever becomes of the work on it, it is not lost
        try:
            piece = self._run(stage, partial(stage.feed, data), turn) or b""
        except EndOfBody as end:
            return await self._end(index, end.last, turn)
        return await self._push(index + 1, piece, turn)

    async def _end(self, index: int, last: bytes, turn: Turn) -> bytes:
        """The stage at `index` ends the body with `last`; those behind it finish what they have."""
        given = await self._push(index + 1, last, turn) + await self._finish(index + 1, turn)
        self.ended = True
        return given

    async def _finish(self, index: int, turn: Turn) -> bytes:
        """What the stages from `index` on still hold."""
        given: list[bytes] = []
        for at, stage in enumerate(self.stages[index:], index):
            following = partial(next, stage.rest(), None)
            while not self.ended and (piece := self._run(stage, following, turn)) is not None:
                given.append(await self._push(at + 1, piece, turn))
                if stage.passes:
                    break
                await self._rest(turn)
        return b"".join(given)

    def _run(self, stage: Stage, work: Callable[[], bytes | None], turn: Turn) -> bytes | None:
        """One slice of work of one stage; or what passes, if it fails open. Raises: Broken, EndOfBody."""
        if stage.passes:
            return work()
        started = turn.pace.now()
        try:
            stage.check_time()
            turn.left()
            return work()
        except EndOfBody:
            raise
        except Failure as error:
            failure = error
        except BaseException as error:  # noqa: BLE001 - as in `attempt`; and nobody but the filter has run meanwhile
            failure = defect(error)
        finally:
            took = turn.pace.now() - started
            stage.spent += took
            stage.seconds += took
        unseen = stage.pass_over() if failure.cause in stage.link.covers else None
        if unseen is None:
            raise self._broken(stage, failure)
        told = stage.seconds, stage.opened, turn.pace.now()
        turn.journal.skipped(stage.link.name, self.phase, failure.cause, str(failure), *told)
        return unseen

    def _conclude(self, stage: Stage, state: State, turn: Turn, word: str) -> State:
        """What `stage` found. Raises: Broken."""
        if stage.passes:
            return state
        try:
            result = judge(stage.link, self.phase, state, _late(stage.transformer.conclude()))
        except Failure as error:
            raise self._broken(stage, error) from None
        except BaseException as error:  # noqa: BLE001 - as in `_run`
            raise self._broken(stage, defect(error)) from None
        told = result.respond.code if isinstance(result, Denial) else word
        turn.journal.decided(stage.link.name, self.phase, stage.seconds, told, stage.opened, turn.pace.now())
        if isinstance(result, Denial):
            raise Broken(result)
        return result

    def _broken(self, stage: Stage, failure: Failure) -> Broken:
        """The denial for a failure that nothing covers (any more)."""
        cause = Cause.INTERRUPTED if stage.begun else failure.cause
        reason = f"{stage.link.name}: {failure}"
        respond = answer_to(cause, in_response=self.phase.is_response, reason=reason)
        return Broken(Denial(respond, stage.link.name, self.phase, cause))


async def opened(chain: Chain, phase: Phase, state: State, turn: Turn, most: Reading) -> tuple[State, Pipe | Denial]:
    """The pipe for a body that is about to come, of which Envoy was told that `most` is needed: each extension has decided by
    the headers alone, and what it changes in them is in the state.
    """
    pipe = Pipe(phase)
    for link in chain.at(phase):
        made: list[tuple[BodyTransformer, Reading]] = []
        started = turn.pace.now()
        if chain.lacks_peer(link, state):
            result: State | Denial | None = Denial(UNAUTHENTICATED, link.name, phase)
        else:
            result = await attempt(link, phase, state, turn, partial(_open, made, most))
            if isinstance(result, State) and (refusal := turn.accept(result)):
                result = Denial(refusal, link.name, phase)
        took = turn.pace.now() - started
        if isinstance(result, Denial):
            turn.journal.decided(link.name, phase, took, result.respond.code, started)
            return state, result
        if result is None:
            continue
        for transformer, reading in made:
            held = bytearray() if link.covers and _headers(result, phase) is _headers(state, phase) else None
            pipe.stages.append(Stage(link, transformer, reading is Reading.WATCH, held, seconds=took, opened=started))
        if not made:
            turn.journal.decided(link.name, phase, took, "continue", started)
        state = result
    return state, pipe


async def _open(
    made: list[tuple[BodyTransformer, Reading]],
    most: Reading,
    link: Link,
    phase: Phase,
    exchange: Exchange,
    pace: Pace,  # noqa: ARG001 - as others are called
) -> Verdict:
    verdict = await link.filter.decide(phase, exchange)
    if not isinstance(verdict, Continue):
        return verdict
    if verdict.body is not None:
        raise Defect("a body that is streamed cannot be set as a whole")
    transformer = link.transforming.transformer(phase, exchange) if link.transforming else None
    if transformer is not None:
        reading = link.reading(phase, exchange)
        if reading > most or (reading is Reading.NOTHING and most is Reading.WATCH):
            raise Defect("it works on more of the body than it said that it needs")
        made.append((transformer, reading))
    return verdict


def _headers(state: State, phase: Phase) -> object:
    """What leaves before the body. Once it has changed, the old body may not go with it: an encoding may be gone."""
    return state.response.headers if phase.is_response and state.response else state.request.headers


def _late(verdict: Verdict) -> Verdict:
    """What can still be said when the headers have left. Raises: Defect."""
    if not isinstance(verdict, Continue):
        return verdict
    if verdict.set_headers or tuple(verdict.remove_headers) or verdict.set_query or tuple(verdict.remove_query):
        raise Defect("the headers of a streamed body have left before it")
    return replace(verdict, remove_headers=(), remove_query=(), body=None)
