"""Bodies that are decoded as they come: all of it, in slices, and never too much at once."""

import gzip
import os
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.media import Coding
from extproc_filters.usage.inflow import SLICE, WAITING, Inflow
from tests.filters.usage.cuts import CUTS, cut

CODINGS: dict[Coding | None, Callable[[bytes], bytes]] = {
    None: bytes,
    Coding.GZIP: gzip.compress,
    Coding.DEFLATE: zlib.compress,
    Coding.BROTLI: brotli.compress,
}


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(CODINGS)), st.binary(max_size=200), st.integers(1, 3000), CUTS)
def test_nothing_is_lost(coding: Coding | None, data: bytes, times: int, cuts: list[int]) -> None:
    inflow = Inflow(coding)
    encoded = CODINGS[coding](data * times)
    given_ = [piece for chunk in cut(encoded, cuts) for piece in inflow.put(chunk)] + list(inflow.rest())
    assert all(0 <= len(piece) <= SLICE for piece in given_)
    whole = b"".join(given_) == data * times
    assert whole
    assert (inflow.finished, inflow.waiting) == (True, 0)


def test_what_is_not_encoded_never_waits() -> None:
    inflow = Inflow(None)
    text = os.urandom(10 * SLICE)
    assert b"".join(inflow.put(text)) == text
    assert list(inflow.rest()) == []


def test_what_grows_too_much_waits() -> None:
    inflow = Inflow(Coding.GZIP)
    encoded = gzip.compress(b"x" * 5_000_000)
    given_ = [sum(map(len, inflow.put(encoded)))]
    while inflow.behind:
        given_.append(sum(map(len, inflow.put(b""))))
    assert all(size < 2 * SLICE for size in given_)
    assert sum(given_) == 5_000_000
    assert not inflow.finished


def test_not_everything_may_wait() -> None:
    inflow = Inflow(Coding.GZIP)
    bomb = gzip.compress(b"x" * 50_000_000)
    with pytest.raises(TooLarge):
        for _ in inflow.put(bomb * (2 + WAITING // len(bomb))):
            pass


def test_an_end_that_is_missing() -> None:
    inflow = Inflow(Coding.GZIP)
    list(inflow.put(gzip.compress(b"x" * 100)[:-1]))
    with pytest.raises(Malformed):
        list(inflow.rest())
    assert not inflow.finished


def test_nothing_at_all_is_finished() -> None:
    inflow = Inflow(Coding.BROTLI)
    assert list(inflow.rest()) == []
    assert inflow.finished
