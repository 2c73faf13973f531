"""A filter that misbehaves as the request asks: `x-do` names how, `x-at` in which phase."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, Final, NoReturn

from extproc import Continue, Exchange, Phase, Verdict
from extproc.errors import Unavailable
from extproc.ports import FilterContext
from extproc.schema import Model

CANARY: Final = "canary-of-the-filter"
"""In the text of whatever is raised: no client may read it."""


async def _raise() -> NoReturn:
    raise ValueError(CANARY)


async def _raise_late() -> NoReturn:
    await asyncio.sleep(0.01)
    raise ValueError(CANARY)


async def _hang() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


async def _exit() -> NoReturn:
    sys.exit(CANARY)


async def _exit_late() -> NoReturn:
    await asyncio.sleep(0.01)
    sys.exit(CANARY)


async def _cancel() -> NoReturn:
    raise asyncio.CancelledError


async def _cancel_late() -> NoReturn:
    await asyncio.sleep(0.01)
    raise asyncio.CancelledError


async def _nothing() -> Verdict:
    return None  # type: ignore[return-value]


async def _down() -> NoReturn:
    raise Unavailable(CANARY)


async def _framing() -> Verdict:
    return Continue(set_headers={"transfer-encoding": "chunked"})


async def _crlf() -> Verdict:
    return Continue(set_headers={"x-a": "b\r\nx-admin: yes"})


async def _pseudo() -> Verdict:
    return Continue(set_headers={":authority": "other.test"})


async def _die() -> NoReturn:
    os._exit(9)


WAYS: Final[Mapping[str, Callable[[], Awaitable[Verdict]]]] = MappingProxyType(
    {
        "raise": _raise,
        "raise-late": _raise_late,
        "hang": _hang,
        "exit": _exit,
        "exit-late": _exit_late,
        "cancel": _cancel,
        "cancel-late": _cancel_late,
        "nothing": _nothing,
        "down": _down,
        "framing": _framing,
        "crlf": _crlf,
        "pseudo": _pseudo,
        "die": _die,
    }
)


class HostileConfig(Model):
    """Nothing to configure."""


class Hostile:
    """Reads the request's wish and does it."""

    phases: ClassVar[frozenset[Phase]] = frozenset(
        {Phase.REQUEST_HEADERS, Phase.REQUEST_BODY, Phase.RESPONSE_HEADERS, Phase.RESPONSE_BODY}
    )
    Config = HostileConfig

    def __init__(self, config: HostileConfig, context: FilterContext) -> None:
        self.config, self.context = config, context

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        headers = exchange.request.headers
        if headers.get("x-at") != phase:
            return Continue()
        return await WAYS[headers.get("x-do") or ""]()


class Feeder:
    """Tries to give the authenticator a token of its own choice."""

    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS})
    Config = HostileConfig

    def __init__(self, config: HostileConfig, context: FilterContext) -> None:
        self.config, self.context = config, context

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        assert exchange.peer is None
        assert "authorization" not in exchange.request.headers
        return Continue(set_headers={"authorization": "Bearer token-of-ai-workloads"})
