"""One Redis server: few connections, and calls that share them.

The calls of one turn of the event loop are written at once; those that come while every connection is busy wait for the
next free one, and are written together then. What waits is bounded in number and in time.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from extproc.adapters.breaker import Breaker, Unasked
from extproc.adapters.redis_errors import sentence, state
from extproc.errors import Unavailable

MOST_WAITING: Final = 2048
MOST_BATCH: Final = 128
CONNECT_SECONDS: Final = 1.0
"""For connecting and logging in. A connection that takes longer than a call may wait serves the calls that come after."""

Reply = object
"""What Redis answers, or a ResponseError that the server's state does not explain."""

TROUBLE: Final = (RedisError, OSError, TimeoutError, EOFError)
"""What a connection fails with."""


@dataclass(slots=True)
class Call:
    """`data` is what is written, `replies` how many answers it brings; the last one counts. `deadline` is loop time."""

    data: bytes
    replies: int
    deadline: float
    future: asyncio.Future[Reply]


class Node:
    """All that is asked of one server. To be used in one event loop."""

    def __init__(
        self, address: str, connect: Callable[[], AbstractConnection], breaker: Breaker, connections: int
    ) -> None:
        self.address = address
        self.breaker = breaker
        self._connect = connect
        self._most = connections
        self._idle: list[AbstractConnection] = []
        self._open = 0
        self._waiting: deque[Call] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def ask(self, data: bytes, replies: int, deadline: float, *, anyway: bool = False) -> asyncio.Future[Reply]:
        """Write `data`; the last of its `replies` comes, or Unavailable. `anyway` asks even if the breaker is open.

        Raises: Unavailable, at once.
        """
        if self._closed:
            raise self.trouble("closed")
        if len(self._waiting) >= MOST_WAITING:
            raise self.trouble(f"{MOST_WAITING} calls are waiting already", Unasked)
        if not anyway and not self.breaker.allows():
            raise self.trouble(f"failed {self.breaker.failures} times in a row, and is left alone for a while", Unasked)
        loop = asyncio.get_running_loop()
        call = Call(data, replies, deadline, loop.create_future())
        self._waiting.append(call)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        return call.future

    async def close(self) -> None:
        self._closed = True
        await asyncio.sleep(0)  # a task that has not begun would end without a word to those who wait for it
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail(self._waiting, "closed")
        self._waiting.clear()
        self._stop_timer()
        while self._idle:
            await self._drop(self._idle.pop())

    def trouble(self, problem: str, kind: type[Unavailable] = Unavailable) -> Unavailable:
        return kind(f"redis at {self.address}: {problem}")

    def _flush(self) -> None:
        """Give what waits to whoever is free."""
        self._scheduled = False
        self._expire()
        while self._idle and (batch := self._next_batch()):
            self._start(self._exchange(self._idle.pop(), batch))
        if self._waiting and self._open < self._most and not self._closed:
            self._open += 1
            self._start(self._add_connection())
        if self._waiting and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._waiting[0].deadline, self._time_is_up)

    def _next_batch(self) -> list[Call]:
        batch: list[Call] = []
        while self._waiting and len(batch) < MOST_BATCH:
            call = self._waiting.popleft()
            if not call.future.done():  # whoever asked may have left
                batch.append(call)
        return batch

    def _start(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _time_is_up(self) -> None:
        self._timer = None
        if self._expire():
            self.breaker.failed()
        self._flush()

    def _expire(self) -> bool:
        """Drop what waited too long, or is waited for no more. It was never sent, so it charges nothing. Calls wait in the
        order of their deadlines, but for those that are asked a second time: they come at the end, and expire a little late.
        """
        now, expired = asyncio.get_running_loop().time(), False
        while self._waiting and (self._waiting[0].future.done() or self._waiting[0].deadline <= now):
            call = self._waiting.popleft()
            expired = expired or not call.future.done()
            self._fail([call], "no answer in time")
        if not self._waiting:
            self._stop_timer()
        return expired

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _add_connection(self) -> None:
        connection: AbstractConnection | None = None
        try:
            connection = self._connect()
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call] # the library's, without types
        except TROUBLE as error:
            self.breaker.failed()
            self._fail(self._waiting, sentence(error))
            self._waiting.clear()
            await self._drop(connection)
        except BaseException:
            await self._drop(connection)
            raise
        else:
            self._idle.append(connection)
        if not self._closed:
            self._flush()

    async def _exchange(self, connection: AbstractConnection, batch: Sequence[Call]) -> None:
        """One write for all, then their replies in order. A connection whose replies did not all come is of no more use."""
        well = False
        try:
            if await connection.can_read():  # nothing was asked: the server has closed it
                self._waiting.extendleft(reversed(batch))
                return
            async with asyncio.timeout_at(min(call.deadline for call in batch)):
                replies = await _converse(connection, batch)
            well = self._hand_out(batch, replies)
        except TROUBLE as error:
            self.breaker.failed()
            self._fail(batch, sentence(error))
        except Exception:
            self._fail(batch, "the connection failed in a way that nobody foresaw")
            raise
        finally:
            self._fail(batch if self._closed else (), "closed")
            if well and not self._closed:
                self._idle.append(connection)
            else:
                await self._drop(connection)
            if not self._closed:
                self._flush()

    def _hand_out(self, batch: Sequence[Call], replies: Sequence[Reply]) -> bool:
        """Hand out the replies; whether the server is well."""
        bad = next((each for each in replies if isinstance(each, ResponseError) and state(each)), None)
        if isinstance(bad, ResponseError):
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        for call, reply in zip(batch, replies, strict=True):
            if call.future.done():
                continue
            if isinstance(reply, ResponseError) and state(reply):
                call.future.set_exception(self.trouble(sentence(reply)))
            else:
                call.future.set_result(reply)
        return bad is None

    def _fail(self, calls: Sequence[Call] | deque[Call], problem: str) -> None:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(self.trouble(problem))

    async def _drop(self, connection: AbstractConnection | None) -> None:
        self._open -= 1
        try:
            if connection is not None:
                await connection.disconnect(nowait=True)
        except TROUBLE:
            return  # it was to be gone, and is


async def _converse(connection: AbstractConnection, batch: Sequence[Call]) -> list[Reply]:
    """Raises: RedisError, OSError: the connection is of no more use."""
    await connection.send_packed_command(b"".join([call.data for call in batch]), check_health=False)
    return [await _last_reply(connection, call.replies) for call in batch]


async def _last_reply(connection: AbstractConnection, count: int) -> Reply:
    reply: Reply = None
    for _ in range(count):
        try:
            reply = await connection.read_response()
        except ResponseError as error:
            reply = error
    return reply
