"""What the fuzzer tries by the million, a few hundred times: bytes of any kind, and bytes that are nearly right."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

TOKENS = [
    b"data: ", b"\n\n", b"\r\n", b"\r", b'{"choices":[{"index":0,"delta":{"content":"', b'"}}]}', b"[EMAIL_ADDRESS_1]",
    b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"', b"jane.roe@example.org", b"https://",
    b'{"delta":{"message":{"content":{"text":"', b"-delta", b'"type":"content-end"', b'"willContinue":true',
    b"[EMAIL", b"\\", b'"', b"\\u005b", b"[DONE]", b"&#64;",
    b"{", b"}", b"[", b"]", b",", b":", b"1", b"\xff", b"\xef\xbb\xbf", b"%40",
]  # fmt: skip
MADE = st.tuples(
    st.binary(min_size=2, max_size=2), st.lists(st.sampled_from(TOKENS) | st.binary(max_size=4), max_size=25)
).map(lambda made: made[0] + b"".join(made[1]))


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A seed of which some bytes are others, or missing."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3) | st.sampled_from(TOKENS))
    return bytes(data)


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(max_examples=120, deadline=None)
@given(data=st.binary(max_size=300) | MADE | spoilt())
def test_whatever_comes(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_seeds(name: str) -> None:
    for seed in SEEDS:
        TARGETS[name](seed)
