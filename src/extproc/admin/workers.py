"""The parent of several workers, asking each on its own Unix socket.

Every worker runs an `Admin` on a socket that only its user can open; the parent runs the one on the configured address,
whose answers are those of all workers together.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector

from extproc.admin.server import Health
from extproc.telemetry.exposition import merge

PATIENCE: Final = 2.0
"""Seconds for an answer: a worker that is busy for longer than that is as good as gone to whoever scrapes."""


@dataclass(frozen=True, slots=True)
class Workers:
    """`sockets` are the workers' admin sockets by the workers' names. Its methods are what the parent's `Admin` takes."""

    sockets: Mapping[str, Path]

    async def health(self) -> Health:
        """All must be ready; one that does not answer is not."""
        ready, started = await asyncio.gather(self._each("/readyz"), self._all("/startupz"))
        problems = tuple(
            f"worker {name}: {line}" for name, (status, text) in ready.items() if status != 200 for line in _lines(text)
        )
        notes = tuple(
            f"worker {name}: {line}"
            for name, (status, text) in ready.items()
            if status == 200
            for line in _lines(text)[1:]
        )
        return Health(
            ready=all(status == 200 for status, _ in ready.values()),
            started=all(found is not None for found in started.values()),
            problems=problems,
            notes=notes,
        )

    async def metrics(self) -> bytes:
        return merge(await self._all("/metrics"))

    async def status(self) -> dict[str, Any]:
        """Each worker's status by its name; null where it did not answer. `configuration` is what is in force, if all that
        answered agree.
        """
        found = {
            name: None if told is None else orjson.loads(told) for name, told in (await self._all("/status")).items()
        }
        names = {told.get("configuration", {}).get("hash") for told in found.values() if told}
        agreed = names.pop() if len(names) == 1 else None
        return {"configuration": {"hash": agreed, "agree": agreed is not None}, "workers": found}

    async def _all(self, path: str) -> dict[str, bytes | None]:
        """What is at `path`; None where it is not answered with 200."""
        found = await self._each(path)
        return {name: body if status == 200 else None for name, (status, body) in found.items()}

    async def _each(self, path: str) -> dict[str, tuple[int, bytes]]:
        answers = await asyncio.gather(*(_ask(each, path) for each in self.sockets.values()))
        return dict(zip(self.sockets, answers, strict=True))


def _lines(text: bytes) -> list[str]:
    return text.decode("utf-8", "replace").splitlines()


async def _ask(unix_socket: Path, path: str) -> tuple[int, bytes]:
    """Status and body of what is at `path`; status 0 if nobody answers."""
    try:
        async with (
            ClientSession(connector=UnixConnector(str(unix_socket)), timeout=ClientTimeout(PATIENCE)) as session,
            session.get(f"http://localhost{path}") as response,
        ):
            return response.status, await response.read()
    except (ClientError, TimeoutError, OSError):
        return 0, b"it does not answer"  # the caller shows it: not ready, `extproc_worker_up` 0, status null
