"""Configurations for the tests of a reload, and a process that follows them without a transport."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from extproc.reload.following import Follower
from extproc.reload.source import Source
from extproc.worker import Worker
from tests.e2e.gateway import AUTHN, INJECT, VERSION, backend, policy, tokens

KEPT = 2
"""What one configuration of these tests borrows: its file secrets, and what is known of tokens."""


def documents(folder: Path, *extensions: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
    """An authenticator, `extensions` at the Gateway, and one Backend."""
    configuration = {
        "apiVersion": VERSION,
        "kind": "ExtProcConfiguration",
        "gateway": "egress/egress",
        "listen": [{"address": f"unix://{folder}/extproc.sock"}],
        "admin": f"unix://{folder}/admin.sock",
        "secretSources": {"provider-keys": {"file": {"root": "secrets"}, "backends": ["egress/stub"]}},
        **settings,
    }
    return [configuration, policy(AUTHN, *extensions), backend(80, INJECT)]


def write(folder: Path, *extensions: dict[str, Any], **settings: Any) -> Path:
    """As a file, with what it refers to."""
    for name, text in {"tokens": tokens(), "secrets/ai-workloads/default/api_key": "sk-canary"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).write_text(text)
    path = folder / "config.yaml"
    put(path, yaml.safe_dump_all(documents(folder, *extensions, **settings), sort_keys=False))
    return path


def put(path: Path, text: str) -> None:
    """Write a file and move it to its place, as careful editors do."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.rename(path)


class Steps:
    """A sleep that ends when the test says so: `step` lets whoever sleeps go on until it sleeps again."""

    def __init__(self) -> None:
        self._go, self._sleeps = asyncio.Semaphore(0), asyncio.Semaphore(0)
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._sleeps.release()
        await self._go.acquire()

    async def step(self, times: int = 1) -> None:
        for _ in range(times):
            await self._sleeps.acquire()
            self._go.release()


@asynccontextmanager
async def following(path: Path) -> AsyncIterator[Follower]:
    """A worker with the configuration at `path`, and what follows it."""
    worker = Worker(Source(path).start(), "127.0.0.1:0", lambda: 0)
    try:
        yield Follower(worker)
    finally:
        await worker.stop()


async def offer(follower: Follower, *, asked: bool = False) -> None:
    """What is on disk now."""
    changes = follower.changes
    seen = await changes._look()
    changes.looks, changes.name = seen.looks, seen.name
    await follower.offer(seen.snapshot, asked=asked)


def told(follower: Follower) -> dict[str, Any]:
    return follower.worker.condition.status()
