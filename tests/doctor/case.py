"""One thing that can be wrong with an Envoy: a change to the generated configuration, and the finding that follows."""

from collections.abc import Callable
from typing import NamedTuple

from extproc.doctor.finding import Code
from tests.doctor.parts import Parts, per_route

Change = Callable[[Parts], object]

MODES = {"request_header_mode": "SEND", "request_trailer_mode": "SEND", "response_header_mode": "SEND"}
PASS = {"key": "x-extproc-pass", "value": "upstream"}


class Case(NamedTuple):
    """`spoil` changes one thing; the one finding has this code, and a text that this pattern finds."""

    code: Code
    text: str
    spoil: Change

    @property
    def name(self) -> str:
        return f"{self.code}: {self.text}"


def having(part: str, **fields: object) -> Change:
    return lambda g: getattr(g, part).update(fields)


def without(part: str, field: str) -> Change:
    return lambda g: getattr(g, part).pop(field)


def overridden(**fields: object) -> Change:
    """By the route, for the filter."""
    return lambda g: g.route.update(per_route(overrides=fields))
