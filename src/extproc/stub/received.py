"""What the stub received, as values."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived: header names and values in their order, bytes read as Latin-1; the body as bytes."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    async def of(cls, request: web.Request) -> Self:
        headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers)
        return cls(request.method, request.raw_path, tuple(headers), await request.read())

    def values(self, name: str) -> list[str]:
        """All values of the header `name`."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def shown(self) -> dict[str, Any]:
        """For the answer's `x_received`. A body that is no text shows U+FFFD for each byte that is none."""
        return {
            "method": self.method,
            "path": self.path,
            "headers": [list(pair) for pair in self.headers],
            "body": self.body.decode("utf-8", "replace"),
        }


@dataclass(frozen=True, slots=True)
class Recorder:
    """The last requests, the oldest first."""

    requests: deque[Received] = field(default_factory=lambda: deque(maxlen=100))

    def add(self, received: Received) -> None:
        self.requests.append(received)

    @property
    def last(self) -> Received:
        """Raises: IndexError where nothing was received."""
        return self.requests[-1]
