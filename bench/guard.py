"""Has the engine become slower? Instructions of one exchange, compared with those that were recorded last.

It tells, and is no test: who adds what is worth its price records anew (`python -m bench --only guard --record`).
"""

import asyncio
import json
import platform
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import streams
from bench.chat import answer
from bench.conversation import conversation, messages
from bench.engine import events, nothing_engine
from bench.gateway import written
from bench.opcodes import counted
from bench.through_envoy import request_body
from extproc.compose import configure, engine
from extproc.core.engine import Engine
from extproc.core.event import Event
from extproc.core.session import Session
from extproc.wire.codec import parse, serialize

RECORDED = Path(__file__).parent / "recorded.json"
NOTICEABLE = 0.03
"""Of a change: below it is nothing to tell."""


@dataclass(frozen=True)
class Change:
    """Instructions of `what` now, and as recorded (None: never, or with another Python)."""

    what: str
    now: float
    recorded: float | None

    @property
    def sentence(self) -> str:
        if self.recorded is None:
            return f"{self.what}: {self.now:,.0f} instructions; nothing is recorded to compare it with"
        change = self.now / self.recorded - 1
        how = (
            "as recorded"
            if abs(change) < NOTICEABLE
            else f"{abs(change):.0%} {'more' if change > 0 else 'fewer'} than recorded"
        )
        return f"{self.what}: {self.now:,.0f} instructions, {how}"


def compare() -> list[Change]:
    """In about five seconds. Raises: RuntimeError."""
    before = read()
    return [Change(what, count, before.get(what)) for what, count in asyncio.run(_count()).items()]


def read() -> Mapping[str, float]:
    """What is recorded for this Python."""
    if not RECORDED.exists():
        return {}
    told: dict[str, Any] = json.loads(RECORDED.read_text())
    instructions: dict[str, float] = told["instructions"]
    return instructions if told["python"] == _python() else {}


def record(changes: list[Change]) -> None:
    told = {"python": _python(), "instructions": {change.what: change.now for change in changes}}
    RECORDED.write_text(json.dumps(told, indent=2) + "\n")


def _python() -> str:
    """Instructions are those of a minor version."""
    return ".".join(platform.python_version_tuple()[:2])


async def _count() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="xpb-") as name:
        directory = Path(name)
        four, chat = (configure(written(each, _made(directory / each))) for each in ("four", "chat"))
        first, known, filters, streamed = (
            nothing_engine(),
            events(),
            engine(four, streams.untold),
            engine(chat, streams.untold),
        )
        try:
            return {
                "an exchange, twelve extensions that do nothing": await _steady(lambda: _exchange(first, known)),
                "a request, four filters, with the codec": await _steady(lambda: _request(filters)),
                "an event of a streamed chat, with the codec": await _event(streamed),
            }
        finally:
            for each in (four, chat):
                if each.outside:
                    await each.outside.close()


def _made(directory: Path) -> Path:
    directory.mkdir(mode=0o700)
    return directory


async def _steady(work: Callable[[], Awaitable[None]]) -> int:
    """Instructions of `work` when everything is cached: the fewest of three, since now and then one has a timer to run."""
    for _ in range(3):
        await work()
    return min([await counted(work) for _ in range(3)])


async def _exchange(shared: Engine, known: Iterable[Event]) -> None:
    session = Session(shared)
    for event in known:
        await session.step(event)
    session.close()


async def _request(shared: Engine) -> None:
    session = Session(shared)
    for message in messages(conversation(request_body(), buffered=True)):
        for outcome in await session.step(parse(message.SerializeToString())):
            serialize(outcome)
    session.close()


async def _event(shared: Engine) -> float:
    pieces = [streams.piece(data).SerializeToString() for data in answer(28)]

    async def play() -> None:
        for piece in pieces:
            for outcome in await session.step(parse(piece)):
                serialize(outcome)

    for _ in range(2):
        session, _mode = await streams.begun(shared, ())
        count = await counted(play)
        session.close()
    return count / len(pieces)
