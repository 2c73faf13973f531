"""Header fields as a value, and changes as a difference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.headers import FRAMING, Headers, apply, check_name, check_value, difference
from extproc.core.secret import seal
from extproc.errors import Defect

NAMES = st.sampled_from(["a", "b", "accept", "cookie", "x-dup", "x-1"])
VALUES = st.binary(max_size=4)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=12).map(Headers)


def by_name(headers: Headers) -> dict[str, tuple[object, ...]]:
    return {name: headers.values(name) for name in headers.names()}


@given(HEADERS, HEADERS)
def test_a_difference_leads_from_any_headers_to_any_others(before: Headers, after: Headers) -> None:
    assert by_name(apply(difference(before, after), before)) == by_name(after)


@given(HEADERS, HEADERS)
def test_a_difference_names_nothing_that_stays(before: Headers, after: Headers) -> None:
    change = difference(before, after)
    assert all(before.values(name) != values for name, values in change.set)
    assert all(name in before and name not in after for name in change.remove)


@given(HEADERS)
def test_no_difference_to_itself(headers: Headers) -> None:
    assert not difference(headers, Headers(list(headers)))


@given(HEADERS, NAMES, st.lists(VALUES, max_size=3))
def test_headers_are_a_list_whatever_is_remembered_of_it(headers: Headers, name: str, values: list[bytes]) -> None:
    fields = list(headers)
    assert headers.values(name) == tuple(value for key, value in fields if key == name)
    assert (name in headers) == (headers.get(name) is not None) == any(key == name for key, _ in fields)
    assert headers.names() == {key for key, _ in fields}
    others = [field for field in fields if field[0] != name]
    assert list(headers.without([name])) == others
    assert list(headers.replaced(name, *values)) == [*others, *((name, value) for value in values)]
    assert list(headers) == fields


def test_order_and_duplicates_are_kept() -> None:
    headers = Headers([("x-dup", b"1"), ("a", b"\xff"), ("x-dup", b"2")])
    assert headers.values("x-dup") == (b"1", b"2")
    assert headers.get("x-dup") == "1, 2"
    assert headers.get("a") == "ÿ"
    assert list(headers.replaced("x-dup", b"3")) == [("a", b"\xff"), ("x-dup", b"3")]


def test_a_secret_among_values_shows_as_stars() -> None:
    headers = Headers([("authorization", seal(b"sk-canary"))])
    assert headers.get("authorization") == "***"
    assert "sk-canary" not in repr(headers)


@pytest.mark.parametrize(
    "name", [*FRAMING, ":path", ":authority", "x-envoy-retry-on", "", "Upper", "sp ace", "a\n", "é"]
)
def test_what_no_filter_may_name(name: str) -> None:
    with pytest.raises(Defect):
        check_name(name)


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "\x00", "\x7f", " a", "a ", "\t"])
def test_values_that_would_split_or_be_refused(value: str) -> None:
    with pytest.raises(Defect) as raised:
        check_value(value)
    assert repr(value) not in str(raised.value)


def test_values_outside_latin_1_are_sent_as_utf_8() -> None:
    assert check_value("café") == b"caf\xe9"
    assert check_value("日本") == "日本".encode()
    assert check_value(b"\xff\xfe") == b"\xff\xfe"
