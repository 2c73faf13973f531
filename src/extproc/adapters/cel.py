"""CEL (DESIGN section 3): compiled once, evaluated with the variables of an exchange.

A key that is absent is an error at run time, as CEL says, and an error denies. A header that may be absent is therefore
asked for first: `"x-team" in request.headers && request.headers["x-team"] == "a"`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import cel

from extproc.adapters import cel_grammar
from extproc.errors import ConfigError, ExpressionError

OPERATORS: Final = frozenset(
    {
        "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_+_", "_-_", "_*_", "_/_", "_%_", "_&&_", "_||_", "!_", "-_", "_?_:_",
        "_[_]", "@in", "@not_strictly_false",
    }
)  # fmt: skip
"""What the library calls operators."""

SENTENCES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (KeyError, "a key or member that it reads is absent"),
    (IndexError, "an index is out of bounds"),
    (ZeroDivisionError, "it divides by zero"),
    (OverflowError, "a number overflows"),
    (TypeError, "the types of its operands do not fit"),
)
"""The library's own texts hold values, which may be anybody's secrets: ours do not."""


@dataclass(frozen=True, slots=True)
class CelExpression:
    """A compiled expression. `members` are the members that it reads, by variable: nothing else is handed to it."""

    program: cel.Program
    members: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.members)

    def __call__(self, variables: Mapping[str, object]) -> Any:
        """Its value. Raises: ExpressionError, with a text that has no value in it."""
        try:
            return self.program.execute(self._handed(variables))
        except Exception as error:  # noqa: BLE001 - the library raises whatever it likes; each is an expression without a value
            raise ExpressionError(_sentence(error)) from None
        except BaseException as error:
            if not _is_panic(error):
                raise
            raise ExpressionError("the evaluation broke off") from None

    def _handed(self, variables: Mapping[str, object]) -> dict[str, object]:
        handed: dict[str, object] = {}
        for variable, members in self.members.items():
            value = variables[variable]
            handed[variable] = (
                {name: _plain(value[name]) for name in members if name in value} if isinstance(value, Mapping) else {}
            )
        return handed


class Cel:
    """The compiler."""

    @staticmethod
    def compile(source: str) -> CelExpression:
        """`source`, checked against the limits of `cel_grammar`, then compiled.

        Raises:
            ConfigError: it is refused; without a place.
        """
        reader = cel_grammar.read(source)
        program = _compiled(source)
        strangers = set(program.variables()) - reader.all_bound - {variable for variable, _ in reader.members}
        strangers |= set(program.functions()) - OPERATORS - cel_grammar.FUNCTIONS - cel_grammar.METHODS
        if strangers:
            raise ConfigError(f"this is no CEL expression that can be read safely: {', '.join(sorted(strangers))}")
        for pattern in reader.patterns.literals:
            _check_pattern(pattern)
        grouped = groupby(sorted(reader.members), key=lambda member: member[0])
        return CelExpression(program, {variable: tuple(name for _, name in members) for variable, members in grouped})


def _plain(value: object) -> object:
    """The library takes dicts and lists only; what it is asked about is read-only."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _compiled(source: str) -> cel.Program:
    try:
        return cel.compile(source)
    except ValueError as error:
        raise ConfigError(f"this is no CEL expression: {_first_line(error)}") from error
    except BaseException as error:
        if not _is_panic(error):
            raise
        raise ConfigError("this is no CEL expression: the compiler broke off") from None


def _first_line(error: ValueError) -> str:
    return str(error).partition("ERROR: ")[2].partition("\n")[0] or "it cannot be parsed"


def _check_pattern(literal: str) -> None:
    try:
        _compiled(f"''.matches({literal})").execute({})
    except RuntimeError as error:
        raise ConfigError(
            f"{literal} is no regular expression (RE2 syntax, no look-around or back-references)"
        ) from error


def _sentence(error: Exception) -> str:
    return next((text for kind, text in SENTENCES if isinstance(error, kind)), "it cannot be evaluated")


def _is_panic(error: BaseException) -> bool:
    """A Rust panic is a BaseException, so that `except Exception` misses it."""
    return type(error).__module__ == "pyo3_runtime"
