"""Usage objects in the words of each API, and those that are none."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.errors import Malformed
from extproc_filters.usage.counts import KNOWN, MOST, Usage, read_counts, usage_of


def usage(found: Any) -> Usage:
    return usage_of(read_counts(found if isinstance(found, bytes) else json.dumps(found).encode()))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}, (9, 12, 21)),
        ({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 30}, (9, 12, 30)),
        ({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 5}, (9, 12, 21)),
        ({"prompt_tokens": 9, "completion_tokens": 12, "prompt_tokens_details": {"cached_tokens": 5}}, (9, 12, 21)),
        ({"prompt_tokens": 8, "total_tokens": 8}, (8, 0, 8)),
        ({"total_tokens": 8}, (8, 0, 8)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_time": 0.5, "cost": 1e-6, "x": "y"}, (9, 1, 10)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": None}, (9, 1, 10)),
        ({"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, "cache_read_input_tokens": 2}, (3, 4, 7)),
        (
            {
                "input_tokens": 3,
                "cache_creation_input_tokens": 100,
                "cache_read_input_tokens": 50,
                "cache_creation": {"ephemeral_5m_input_tokens": 100},
                "output_tokens": 4,
                "service_tier": "standard",
            },
            (153, 4, 157),
        ),
        ({"input_tokens": 3, "cache_read_input_tokens": None, "output_tokens": 0}, (3, 0, 3)),
        ({"promptTokenCount": 4, "candidatesTokenCount": 9, "totalTokenCount": 13}, (4, 9, 13)),
        (
            {
                "promptTokenCount": 4,
                "toolUsePromptTokenCount": 2,
                "candidatesTokenCount": 9,
                "thoughtsTokenCount": 20,
                "cachedContentTokenCount": 3,
                "totalTokenCount": 35,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}],
            },
            (6, 29, 35),
        ),
        ({"promptTokenCount": 4, "totalTokenCount": 4}, (4, 0, 4)),
        (
            {"prompt_tokens": 5, "completion_tokens": 6, "input_tokens": 5, "output_tokens": 6, "total_tokens": 11},
            (5, 6, 11),
        ),
    ],
)
def test_what_each_says(found: dict[str, Any], expected: tuple[int, int, int]) -> None:
    assert usage(found) == Usage(*expected)


@pytest.mark.parametrize(
    "found",
    [
        b"",
        b"5",
        b"[]",
        b'"x"',
        b"{",
        b"\xff",
        b"{}",
        b'{"prompt_tokens":1,"prompt_tokens":2,"total_tokens":3}',
        b'{"total_tokens":3,"x":{"a":1,"a":2}}',
        b'{"total_tokens":NaN}',
        b'{"total_tokens":Infinity}',
        b'{"total_tokens":1%b}' % (b"0" * 5000),
        b'{"x":%b%b,"total_tokens":1}' % (b"[" * 8000, b"]" * 7999),
        {"completion_tokens": 5},
        {"prompt_tokens": 5},
        {"input_tokens": 5},
        {"output_tokens": 5},
        {"promptTokenCount": 5},
        {"total_tokens": 0},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"total_tokens": -1},
        {"total_tokens": 1.0},
        {"total_tokens": True},
        {"total_tokens": "5"},
        {"total_tokens": [5]},
        {"total_tokens": MOST + 1},
        {"prompt_tokens": MOST, "completion_tokens": 1},
        {"prompt_tokens": -5, "completion_tokens": 10, "total_tokens": 5},
        {"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": 0.5},
    ],
)
def test_what_says_nothing_sensible(found: Any) -> None:
    with pytest.raises(Malformed):
        usage(found)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(KNOWN)) | st.text(max_size=4),
        st.integers(-2, 2 * MOST) | st.none() | st.floats() | st.booleans() | st.text(max_size=2),
        max_size=8,
    )
)
def test_whatever_is_found_is_possible_or_refused(found: dict[str, Any]) -> None:
    try:
        read = usage(found)
    except Malformed:
        return
    assert 1 <= read.total <= MOST
    assert min(read.input, read.output) >= 0
    assert read.total >= read.input + read.output
    assert all(isinstance(value, int) for name, value in found.items() if name in KNOWN and value is not None)
