"""One question to an admin port: bounded in time and size, and nobody is believed about where to go instead."""

import asyncio
import os
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import orjson
from aiohttp import (
    BaseConnector,
    ClientConnectorError,
    ClientError,
    ClientSession,
    TCPConnector,
    UnixConnector,
)
from yarl import URL

from extproc.doctor.tree import Json
from extproc.errors import ExtprocError
from extproc.policy.names import Address

PATIENCE: Final = 5.0
"""Seconds for one answer."""

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of an answer: a large gateway's configuration has tens of them."""


PLAIN: Final = {"accept-encoding": "identity"}
"""A small answer must not become a large one here."""


class Unanswered(ExtprocError):
    """There is no answer that could be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`ahead` is how many seconds the clock of who answers is ahead of ours, as far as its `Date` says so."""

    status: int
    body: bytes
    ahead: float | None = None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


async def ask(address: Address, path: str) -> Answer:
    """What is at `path`, whatever its status. Raises: Unanswered."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await _get(address, path)
    except TimeoutError:
        raise Unanswered(f"it did not answer within {PATIENCE:g} s") from None
    except ClientConnectorError as error:
        number = error.os_error.errno  # asyncio's own text repeats the address
        reason = os.strerror(number) if number else str(error.os_error)
        raise Unanswered(f"it cannot be reached ({reason})") from None
    except (ClientError, OSError) as error:
        raise Unanswered(f"what answers there is no admin port ({type(error).__name__})") from None


async def ask_json(address: Address, path: str) -> Json:
    """The object at `path`. Raises: Unanswered, also for another status than 200."""
    return parsed(await ask(address, path), path)


def parsed(answer: Answer, path: str) -> Json:
    """The object that it is. Raises: Unanswered, also for another status than 200."""
    if answer.status != 200:
        raise Unanswered(f"it answers {path.partition('?')[0]} with status {answer.status}")
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Unanswered(f"its answer to {path.partition('?')[0]} is no JSON object")
    return found


async def _get(address: Address, path: str) -> Answer:
    connector: BaseConnector = UnixConnector(str(address.path)) if address.path else TCPConnector()
    authority = "localhost" if address.path else str(address)
    body = bytearray()
    async with (
        ClientSession(connector=connector, auto_decompress=False) as session,
        session.get(URL(f"http://{authority}{path}", encoded=True), headers=PLAIN, allow_redirects=False) as response,
    ):
        ahead = _ahead(response.headers.get("date", ""))
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MOST_BYTES:
                raise Unanswered(f"its answer is larger than {MOST_BYTES} bytes")
        return Answer(response.status, bytes(body), ahead)


def _ahead(date: str) -> float | None:
    """Of an HTTP date (RFC 9110 section 5.6.7); it has whole seconds, so half of one is what it means."""
    try:
        return parsedate_to_datetime(date).timestamp() + 0.5 - time.time()
    except (ValueError, OverflowError):
        return None
