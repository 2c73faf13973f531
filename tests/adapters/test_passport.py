"""Tokens of the upstream pass: only what these processes sealed is read, for this gateway, for its time, unchanged."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.adapters.passport import LIFETIME, LONGEST, SealedPassports
from extproc.core.headers import Headers
from extproc.core.message import Request
from extproc.core.passport import Papers, Places
from extproc.core.peer import Peer, Route
from extproc.errors import TooLarge
from extproc.testing.outside import Clock

KEY, OTHER = bytes(range(32)), bytes(32)
PEER = Peer("system:serviceaccount:ai:default", "uid-1", ("a", "b"), "ai", "default", "pod-1")

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NAME = st.text("abcdefghij-0123456789", min_size=1, max_size=12)
LATIN = st.binary(max_size=40)
REQUESTS = st.builds(
    Request, TEXT, TEXT, TEXT, TEXT, TEXT, st.lists(st.tuples(NAME, LATIN), max_size=6).map(Headers), st.none()
)
NAMES = st.frozensets(NAME, max_size=3)
PAPERS = st.builds(
    Papers,
    st.none() | st.builds(Route, NAME, NAME),
    NAMES,
    st.none() | st.builds(Peer, TEXT, TEXT, st.lists(TEXT, max_size=3).map(tuple), TEXT, TEXT, TEXT),
    REQUESTS,
    TEXT,
    TEXT,
    st.builds(Places, NAMES, NAMES),
    NAME,
)
PLAIN = Papers(
    Route("egress", "chat"),
    frozenset({"egress/openai"}),
    PEER,
    Request("POST", "https", "api.test", "api.test", "/v1?q=1", Headers([("x-a", b"\xff\x00\t")])),
    "192.0.2.1:40000",
    "request-1",
    Places(frozenset({"authorization"}), frozenset({"key"})),
    "9f2c01d4",
)


def passports(key: bytes = KEY, gateway: str = "egress/egress", clock: Clock | None = None) -> SealedPassports:
    return SealedPassports(gateway, key, clock or Clock())


@given(PAPERS)
@settings(max_examples=100)
def test_what_one_process_seals_another_reads(papers: Papers) -> None:
    assert passports().read(passports().issue(papers)) == papers


@given(st.data())
@settings(max_examples=150)
def test_no_token_is_read_that_differs_in_a_bit(data: st.DataObject) -> None:
    token = passports().issue(PLAIN).encode()
    place, bit = data.draw(st.integers(0, len(token) - 1)), data.draw(st.integers(0, 6))
    changed = bytearray(token)
    changed[place] ^= 1 << bit
    assert passports().read(changed.decode("latin-1")) is None


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.hex()))
@settings(max_examples=100)
def test_what_is_no_token_is_nothing(text: str) -> None:
    assert passports().read(text) is None


@pytest.mark.parametrize(
    "change", [lambda t: t[:-4], lambda t: t + "AAAA", lambda t: f" {t}", lambda t: f"{t}\n", str.lower]
)
def test_a_token_has_one_spelling(change) -> None:
    token = passports().issue(PLAIN)
    assert passports().read(token) == PLAIN
    assert passports().read(change(token)) is None


def test_another_key_and_another_gateway_read_nothing() -> None:
    token = passports().issue(PLAIN)
    assert passports(OTHER).read(token) is None
    assert passports(gateway="egress/other").read(token) is None


def test_a_token_is_good_for_its_time() -> None:
    clock = Clock()
    token = passports(clock=clock).issue(PLAIN)
    clock.advance(LIFETIME - 1)
    assert passports(clock=clock).read(token) == PLAIN
    clock.advance(1)
    assert passports(clock=clock).read(token) is None


def test_the_same_papers_are_never_sealed_alike() -> None:
    """Not by one process, and not by two of the same key: a nonce that is used twice gives the key stream away."""
    first, second = passports(), passports()
    tokens = [one.issue(PLAIN) for one in (first, second) for _ in range(50)]
    assert len({token[:38] for token in tokens}) == 100  # salt and number


def test_nothing_of_what_is_sealed_is_readable() -> None:
    token = passports().issue(PLAIN)
    for word in ("system", "serviceaccount", "openai", "egress", "request"):
        assert word not in token


def test_the_headers_that_envoy_takes_fit_and_more_is_refused() -> None:
    """60 KiB of the bytes that grow most on their way, of those that a header may have."""
    values = [b"\t" * 20_000, b"\xff" * 20_000, b'"' * 20_000]
    worst = Request("GET", "https", "a", "a", "/", Headers([("x", value) for value in values]))
    papers = Papers(None, frozenset(), None, worst)
    assert passports().read(passports().issue(papers)) == papers
    larger = Request("GET", "https", "a", "a", "/", Headers([("x", b"\xff" * LONGEST)]))
    with pytest.raises(TooLarge, match="headers"):
        passports().issue(Papers(None, frozenset(), None, larger))
    assert passports().read("A" * (LONGEST + 4)) is None


def test_the_key_is_shown_by_nothing() -> None:
    one = passports()
    assert KEY.hex() not in repr(one) + repr(vars(one))
    assert repr(KEY) not in repr(vars(one))
    with pytest.raises(
        (TypeError, AttributeError, pickle.PicklingError, DeprecationWarning)
    ):  # in Python 3.12 and 3.13: of its counter
        pickle.dumps(one)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_has_32_bytes(key: bytes) -> None:
    with pytest.raises(ValueError, match="32"):
        passports(key)
