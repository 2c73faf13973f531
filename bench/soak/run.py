"""A run: rounds of the same programme, and how it stands with the server after each."""

import asyncio
import itertools
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio

from bench.gateway import tail
from bench.ready import await_serving
from bench.soak.journal import strange
from bench.soak.kinds import KINDS, Kind
from bench.soak.parts import TEMPLATE, Redis, Setting, Vault
from bench.soak.sample import Sample, Watcher
from bench.soak.talk import Line, Over

CALLERS = 32
"""Exchanges at once."""

CONNECTIONS = 2
PATIENCE = 20.0
"""Seconds for an exchange, and for the server to get ready."""

RECOVERY = 15.0
"""Seconds after which what was down is used again."""

POLL = 0.1

Progress = Callable[[str], None]
Deed = Callable[[], Coroutine[Any, Any, None]]


@dataclass
class Found:
    """`begun`: before the first exchange; `samples`: after each round. `ends`: how many exchanges of each kind ended how.
    `stuck`: sentences about what did not come right again. `seconds`: of load.
    """

    begun: Sample
    samples: list[Sample] = field(default_factory=list)
    ends: dict[Kind, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    stuck: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exchanges(self) -> int:
        return sum(each.total() for each in self.ends.values())


async def soak(
    exchanges: int,
    rounds: int,
    transport: str,
    progress: Progress,
    kinds: Sequence[Kind] = KINDS,
    template: str = TEMPLATE,
) -> Found:
    """`template` is the configuration. Raises: RuntimeError, if the server does not get ready, or ends."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xps-")))
        redis, vault = Redis(directory), Vault()
        await stack.enter_async_context(vault.serving())
        redis.start()
        stack.callback(redis.kill)
        setting = Setting(directory, redis.url, vault.address, template)
        setting.write()
        pid = stack.enter_context(setting.serving(transport))
        try:
            await asyncio.to_thread(await_serving, setting.socket, pid, PATIENCE)
            channels = [
                await stack.enter_async_context(grpc.aio.insecure_channel(f"unix:{setting.socket}", OWN))
                for _ in range(CONNECTIONS)
            ]
            found_lines = [Line(channel) for channel in channels]
            watcher = Watcher(pid, setting.admin, found_lines[0])
            run = Run(found_lines, watcher, setting, redis, vault, kinds, progress)
            found = await run.whole(exchanges, rounds)
        except (OSError, RuntimeError, Over) as error:
            raise RuntimeError(f"{error!r}; the logs end with:\n{tail(directory)}") from error
        found.stuck += strange(setting.log)
        return found


OWN = [("grpc.use_local_subchannel_pool", 1)]
"""Each channel has a connection of its own."""


@dataclass
class Run:
    """All that takes part in a run. `reloads`: configurations that were written since the first."""

    lines: list[Line]
    watcher: Watcher
    setting: Setting
    redis: Redis
    vault: Vault
    kinds: Sequence[Kind]
    progress: Progress
    reloads: int = 0
    _turns: Iterator[Kind] = field(init=False)

    def __post_init__(self) -> None:
        order = [kind for kind in self.kinds for _ in range(kind.share)]
        random.Random(1).shuffle(order)
        self._turns = itertools.cycle(order)

    async def whole(self, exchanges: int, rounds: int) -> Found:
        """The first round warms up: what it leaves is the base that all others are held against."""
        found = Found(await self.watcher.take(0))
        for number in range(1, rounds + 1):
            begun = time.monotonic()
            scraping = asyncio.create_task(self.watcher.scrape())
            await self._round(exchanges // rounds, found)
            scraping.cancel()
            with suppress(asyncio.CancelledError):
                await scraping
            found.seconds += time.monotonic() - begun
            await self._recovered(found)
            if found.samples:
                sample = await self.watcher.settled(found.exchanges, found.samples[0])
            else:
                sample = await self.watcher.idle(found.exchanges)
            found.samples.append(sample)
            rate = found.exchanges / found.seconds
            self.progress(f"round {number} of {rounds}: {sample.rss:.1f} MB, {rate:,.0f} exchanges a second")
        return found

    async def _round(self, exchanges: int, found: Found) -> None:
        """Every deed is done under load, and the load goes on for a while with what came of it."""
        deeds = self._programme()
        for number, deed in enumerate(deeds):
            share = exchanges * (number + 1) // len(deeds) - exchanges * number // len(deeds)
            async with asyncio.TaskGroup() as group:
                group.create_task(deed())
                turns = itertools.islice(self._turns, share)
                for caller in range(CALLERS):
                    group.create_task(self._caller(self.lines[caller % len(self.lines)], turns, found))

    def _programme(self) -> tuple[Deed, ...]:
        return (
            self._nothing,
            self._redis_dies,
            self._redis_is_back,
            self._vault_is_sealed,
            self._vault_is_open,
            self._redis_hangs,
            self._redis_goes_on,
            self._mistake,
            self._reload,
            self._nothing,
        )

    async def _caller(self, line: Line, turns: Iterator[Kind], found: Found) -> None:
        for kind in turns:
            found.ends[kind][await ended(kind, line)] += 1

    async def _recovered(self, found: Found) -> None:
        """What was down is used again, and what was written is in force."""
        deadline = time.monotonic() + RECOVERY
        for kind in self.kinds:
            end = ""
            while kind.broken and end not in kind.ends and time.monotonic() < deadline:
                await asyncio.sleep(POLL)
                end = await ended(kind, self.lines[0])
            if kind.broken and end not in kind.ends:
                found.stuck.append(f"{kind.name}: {end}, {RECOVERY:g} seconds after what it needs is back")
        generation = await self._generation()
        while generation <= self.reloads and time.monotonic() < deadline:
            await asyncio.sleep(POLL)
            generation = await self._generation()
        if generation <= self.reloads:
            found.stuck.append(f"{self.reloads} configurations were written, and {generation - 1} are followed")

    async def _generation(self) -> int:
        """How many configurations were in force."""
        return int((await self.watcher.status())["configuration"]["generation"])

    async def _nothing(self) -> None:
        """Only load."""

    async def _redis_dies(self) -> None:
        self.redis.kill()

    async def _redis_is_back(self) -> None:
        self.redis.start()

    async def _redis_hangs(self) -> None:
        self.redis.pause()

    async def _redis_goes_on(self) -> None:
        self.redis.go_on()

    async def _vault_is_sealed(self) -> None:
        self.vault.status = 503

    async def _vault_is_open(self) -> None:
        self.vault.status = 200

    async def _mistake(self) -> None:
        self.setting.spoil()

    async def _reload(self) -> None:
        self.reloads += 1
        self.setting.change(self.reloads)


async def ended(kind: Kind, line: Line) -> str:
    """How one exchange ended; a word that no kind expects if it did not, or not as any."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await kind.play(line)
    except TimeoutError:
        return "never"
    except Over as over:
        return over.status
