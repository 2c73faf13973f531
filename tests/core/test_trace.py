"""Which trace a request names, and which it only seems to name (W3C Trace Context, sections 3.2 and 3.3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.headers import Headers
from extproc.core.secret import seal
from extproc.core.trace import Trace, trace_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"


def named(*parents: str | bytes, state: tuple[str, ...] = ()) -> Trace | None:
    values = [value if isinstance(value, bytes) else value.encode() for value in parents]
    fields = [("traceparent", value) for value in values] + [("tracestate", value.encode()) for value in state]
    return trace_of(Headers([("host", b"api"), *fields]))


def test_a_parent_and_its_state() -> None:
    assert named(GOOD) == Trace(TRACE, PARENT, 1)
    assert named(GOOD, state=("a=1", "b=2")) == Trace(TRACE, PARENT, 1, "a=1,b=2")


@pytest.mark.parametrize(("written", "known"), [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("ff", 3), ("f0", 0)])
def test_only_the_flags_that_are_known_count(written: str, known: int) -> None:
    found = named(f"00-{TRACE}-{PARENT}-{written}")
    assert found is not None
    assert found.flags == known


def test_a_later_version_may_say_more() -> None:
    assert named(f"cc-{TRACE}-{PARENT}-01") == Trace(TRACE, PARENT, 1)
    assert named(f"cc-{TRACE}-{PARENT}-01-what-the-future-brings") == Trace(TRACE, PARENT, 1)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "00",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-0g",
        f"{GOOD}-more",
        f"{GOOD}-",
        f"{GOOD}.",
        f"{GOOD}\n",
        f" {GOOD}",
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01.what-the-future-brings",
        f"cc-{TRACE}-{PARENT}-01-" + "x" * 100_000,
        f"cc-{TRACE}-{PARENT}-01-\x00",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        GOOD.upper(),
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00_{TRACE}_{PARENT}_01",
        GOOD.replace("a", "é"),
        f"{GOOD}, {GOOD}",
    ],
)
def test_what_names_no_trace(written: str) -> None:
    assert named(written, state=("a=1",)) is None


def test_two_parents_are_none() -> None:
    assert named(GOOD, GOOD) is None


def test_a_credential_is_no_parent() -> None:
    assert trace_of(Headers([("traceparent", seal(GOOD.encode()))])) is None


@pytest.mark.parametrize("state", ["x" * 513, "a=\x00", "a=é", "", "a=1\r\nb: 2"])
def test_a_state_that_cannot_be_passed_on_is_left_out_and_the_parent_stays(state: str) -> None:
    assert named(GOOD, state=(state,)) == Trace(TRACE, PARENT, 1)


def test_the_state_is_as_long_as_everybody_passes_on() -> None:
    found = named(GOOD, state=("x" * 255, "x" * 256))
    assert found is not None
    assert len(found.state) == 512


@given(st.binary(max_size=80))
def test_no_bytes_break_it(value: bytes) -> None:
    found = named(value)
    assert found is None or (len(found.trace_id), len(found.parent_id)) == (32, 16)
