"""Somebody else's filter that rewrites bodies as they pass, as the request asks: `x-reading` says how much of a body it
wants, `x-do` what it does to it.
"""

from collections.abc import Iterable
from typing import ClassVar

from extproc import Continue, Exchange, Phase, Verdict
from extproc.core.filter import BodyTransformer, EndOfBody, Reading
from extproc.errors import Malformed
from extproc.ports import FilterContext
from extproc.schema import Model


class ShoutingConfig(Model):
    """Nothing to configure."""


class Shouting:
    """Upper case, line by line: what comes behind the last line feed is held back."""

    Config = ShoutingConfig
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_BODY, Phase.RESPONSE_BODY})
    max_body_bytes = 256 * 1024

    def __init__(self, config: ShoutingConfig, context: FilterContext) -> None:
        self.config, self.context = config, context

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        return Continue(set_headers={"x-shouted": "yes"}) if phase.is_response else Continue()

    def reading(self, phase: Phase, exchange: Exchange) -> Reading:
        return Reading[(exchange.request.headers.get("x-reading") or "whole").upper()]

    def transformer(self, phase: Phase, exchange: Exchange) -> BodyTransformer:
        return Lines(exchange.request.headers.get("x-do") or "")


class Lines:
    def __init__(self, wish: str) -> None:
        self._wish, self._held, self._fed = wish, b"", 0

    def feed(self, chunk: bytes) -> bytes:
        self._fed += len(chunk)
        if self._wish == "end" and b"stop" in chunk:
            raise EndOfBody(b"OVER\n")
        if self._wish == "fail" and b"stop" in chunk:
            raise Malformed("as asked")
        lines, end, self._held = (self._held + chunk).rpartition(b"\n")
        return (lines + end).upper()

    def finish(self) -> Iterable[bytes]:
        yield self._held.upper()

    def conclude(self) -> Verdict:
        return Continue(report={"bytes": self._fed})
