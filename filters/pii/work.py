"""Work in slices: a generator that yields whenever the event loop may breathe, and returns its result."""

from collections.abc import Generator, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

Work = Generator[None, None, T]

SLICE: Final = 64 * 1024
"""Bytes or characters between two pauses."""

STEPS: Final = 1024
"""Small steps (tokens, escapes, candidates) between two pauses: about as long as a slice."""

FEW: Final = 256
"""Larger steps (ranges, strings) between two pauses."""


def given(work: Work[bytes]) -> Iterator[bytes]:
    """The result of `work` in slices, and nothing at each of its pauses: what a BodyTransformer gives at the end."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result: bytes = stop.value
            break
        yield b""
    for start in range(0, len(result), SLICE):
        yield result[start : start + SLICE]


def done(work: Work[T]) -> T:
    """The result of `work`, without pauses: for short texts and for the command line."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result: T = stop.value
            return result
