"""Durations, as they are written."""

import pytest
from pydantic import ValidationError

from extproc.schema import Duration, DurationOrZero, Model


class Waits(Model):
    max_wait: Duration = 1.0


@pytest.mark.parametrize(
    ("written", "seconds"), [("250ms", 0.25), ("1.5s", 1.5), ("1m", 60.0), ("2h", 7200.0), ("0.5ms", 0.0005)]
)
def test_durations(written: str, seconds: float) -> None:
    assert Waits.model_validate({"maxWait": written}).max_wait == seconds


@pytest.mark.parametrize(
    "written", [0.5, 3, "3", "0s", "-1s", "1 s", "1d", "s", "", None, True, "1s ", "1e3s", "nan", "٣s"]
)
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValidationError, match="no duration: write a number above 0 and a unit"):
        Waits.model_validate({"maxWait": written})


@pytest.mark.parametrize(
    ("value", "written"),
    [(60.0, "1m"), (7200.0, "2h"), (90.0, "90s"), (1.0, "1s"), (0.25, "250ms"), (0.0005, "0.0005s"), (0.0, "0s")],
)
def test_a_schema_shows_a_default_as_it_would_be_written(value: float, written: str) -> None:
    class Keeps(Model):
        keep: DurationOrZero = value

    assert Keeps.model_json_schema()["properties"]["keep"]["default"] == written
    assert Keeps.model_validate({"keep": written}).keep == value


def test_the_default_needs_no_unit() -> None:
    assert Waits().max_wait == 1.0


def test_some_durations_may_be_none() -> None:
    class Keeps(Model):
        keep: DurationOrZero = 1.0

    assert Keeps.model_validate({"keep": "0s"}).keep == 0.0
    assert Keeps.model_validate({"keep": "2s"}).keep == 2.0
    with pytest.raises(ValidationError):
        Keeps.model_validate({"keep": 0})
