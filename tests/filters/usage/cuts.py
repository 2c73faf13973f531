"""Bytes cut into pieces."""

from itertools import pairwise

from hypothesis import strategies as st

CUTS = st.lists(st.integers(0, 10_000), max_size=10)


def cut(text: bytes, cuts: list[int]) -> list[bytes]:
    """`text` cut at these places (modulo its length)."""
    places = sorted({0, len(text), *(place % (len(text) + 1) for place in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


def bytewise(text: bytes) -> list[bytes]:
    return [text[at : at + 1] for at in range(len(text))]
