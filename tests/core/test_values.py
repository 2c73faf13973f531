"""Values that are made fast are the same values."""

import dataclasses
import inspect
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest

from extproc.core.event import Event, Outcome, Record
from extproc.core.exchange import Exchange
from extproc.core.message import Request, Response
from extproc.core.state import State
from extproc.core.values import replace, swift
from extproc.core.verdict import Continue


def value() -> Any:
    """A class, made anew each time."""

    @dataclass(frozen=True, slots=True)
    class Value:
        first: int
        second: str = "x"
        many: list[int] = field(default_factory=list)
        memory: dict[str, int] = field(default_factory=dict, init=False, compare=False)
        double: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "double", 2 * self.first)

    return Value


Plain, Fast = value(), swift(value())


@pytest.mark.parametrize("given", [(1,), (1, "y"), (1, "y", [3])])
def test_it_is_made_as_dataclasses_make_it(given: tuple[object, ...]) -> None:
    plain, fast = Plain(*given), Fast(*given)
    assert dataclasses.asdict(plain) == dataclasses.asdict(fast)
    assert repr(fast) == repr(plain)
    assert fast == Fast(*given)
    assert inspect.signature(Fast) == inspect.signature(Plain)


@pytest.mark.parametrize("changes", [{}, {"first": 5}, {"second": "z", "many": [1]}])
def test_it_is_made_anew_as_dataclasses_do_it(changes: dict[str, object]) -> None:
    plain, fast = Plain(1, "y", [2]), Fast(1, "y", [2])
    plain.memory["seen"] = fast.memory["seen"] = 1
    assert dataclasses.asdict(replace(fast, **changes)) == dataclasses.asdict(dataclasses.replace(plain, **changes))
    assert fast == Fast(1, "y", [2])
    assert replace(fast, **changes).memory is not fast.memory


def test_what_it_makes_for_itself_is_shared_with_nobody() -> None:
    assert Fast(1).many is not Fast(1).many


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Fast(1).first = 2


@pytest.mark.parametrize("wrong", [{"third": 1}, {"double": 3}, {"memory": {}}])
def test_what_is_no_field_to_hand_in_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        replace(Fast(1), **wrong)
    with pytest.raises(TypeError):
        Fast(1, **wrong)


def test_what_cannot_be_made_so_is_told() -> None:
    @dataclass(frozen=True)
    class Open:
        first: int

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Named:
        first: int

    for kind in (Open, Named):
        with pytest.raises(TypeError, match="no slots, or fields by keyword alone"):
            swift(kind)


@pytest.mark.parametrize("kind", [State, Request, Response, Event, Outcome, Record, Exchange, Continue])
def test_the_values_of_an_exchange_are_made_so(kind: type) -> None:
    assert hasattr(kind, "__replace__")
