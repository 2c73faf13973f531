"""Limits on tokens: what an exchange may cost is reserved when it is asked for, and settled with what it has cost."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from extproc import Continue, Exchange, Phase, Respond, Verdict
from extproc.core.filter import BodyTransformer, Reading
from extproc.core.message import Request
from extproc.errors import Malformed, Unavailable
from extproc.ports import FilterContext
from extproc_filters.limiter import Limiter, Taken
from extproc_filters.limits import QoSControllerConfig
from extproc_filters.token_limits import (
    Kind,
    Reserved,
    answer_reading,
    charges,
    coding_of,
    is_bodiless,
    is_json,
    kind_of,
    length_of,
    more_of,
    price,
    told,
)
from extproc_filters.usage.accepted import accepted
from extproc_filters.usage.answer import Answer, Json, Lines, Other, Seen, Stream
from extproc_filters.usage.asked import NOTHING, Asked, completes, decoded, makes_text, read_asked
from extproc_filters.usage.counts import MOST
from extproc_filters.usage.passing import Cut, Rewrite, Watch
from extproc_filters.usage.size import tokens_of

MOST_CLAIMED: Final = 10_000_000
"""Tokens that a `content-length` is believed, as many as a model takes at the most: what it claims is charged though nobody
sends it, and a budget that many share must not be used up for days by a number.
"""

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


class TokenLimiter(Limiter):
    """Reserves at request-headers, by the length; reserves the rest at request-body, by what is asked for; reads the usage in
    the answer; and settles. It changes as little as it can: a body that it does not understand passes as it is.
    """

    follow_ups = frozenset({Phase.REQUEST_BODY, Phase.RESPONSE_BODY})

    def __init__(self, config: QoSControllerConfig, context: FilterContext) -> None:
        """Raises: ConfigError."""
        super().__init__(config, context)
        self.max_body_bytes = config.max_body_bytes
        self._reserve = config.reserve
        self._reserve_output = config.reserve_output
        self._cut_after = config.cut_after

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        if phase is Phase.REQUEST_HEADERS:
            return await self._begin(exchange)
        if not isinstance(exchange.state, Reserved):
            return Continue()
        if phase is Phase.REQUEST_BODY:
            return await self._top_up(exchange, exchange.state)
        if self.reading(phase, exchange) is Reading.STREAM:
            return Continue(remove_headers=("content-encoding",))
        return Continue()

    def reading(self, phase: Phase, exchange: Exchange) -> Reading:
        state = exchange.state
        if not isinstance(state, Reserved):
            return Reading.NOTHING
        if phase is Phase.REQUEST_BODY:
            return Reading.WHOLE if self._reads(exchange.request, state) else Reading.NOTHING
        if exchange.response is None:
            could_rewrite = self._cut_after is not None or completes(exchange.request)
            return Reading.STREAM if could_rewrite else Reading.WATCH
        succeeded = 200 <= exchange.response.status < 300
        rewrites = succeeded and (state.asked or self._cut_after is not None)
        return answer_reading(exchange.request, exchange.response, rewrites=rewrites)

    def transformer(self, phase: Phase, exchange: Exchange) -> BodyTransformer | None:
        reading, state = self.reading(phase, exchange), exchange.state
        if phase is not Phase.RESPONSE_BODY or reading is Reading.NOTHING:
            return None
        if not isinstance(state, Reserved) or exchange.response is None:
            return None
        tell = partial(_tell, state)
        readable, coding = coding_of(exchange.response.headers)
        if reading is Reading.STREAM:
            return Rewrite(coding, tell, strip=state.asked, cut=self._cut(exchange.request, state))
        return Watch(_answer(kind_of(exchange.response.headers)) if readable else Other(), coding, tell)

    async def give_back(self, phase: Phase, exchange: Exchange) -> None:
        """At request-body only tokens: the request itself was counted in the phase before."""
        state = exchange.state
        if not isinstance(state, Reserved):
            await super().give_back(phase, exchange)
        elif phase is Phase.REQUEST_HEADERS:
            await self._return(state)
        else:
            await self._charge(state, None, reached=False)

    async def settle(self, exchange: Exchange, *, reached: bool) -> Mapping[str, int | str]:
        """Raises: Unavailable."""
        state = exchange.state
        if not isinstance(state, Reserved):
            return {}
        if state.fate.refused:
            await self._return(state)
            return {"charged_tokens": 0}
        response = exchange.response
        status = response.status if response and not response.by_envoy else None
        charged = await self._charge(state, status, reached=reached)
        return {**told(state.seen.usage if state.seen else None), "charged_tokens": charged}

    async def _begin(self, exchange: Exchange) -> Verdict:
        """Raises: ExpressionError, Unavailable."""
        rules = self._applying(exchange)
        if not any(rule.tokens for rule in rules):
            return await super().decide(Phase.REQUEST_HEADERS, exchange)
        request = exchange.request
        bodiless, length = is_bodiless(request), length_of(request.headers)
        claimed = self._reserve if length is None else min(MOST_CLAIMED, tokens_of(length))
        prompt = 1 if bodiless else claimed
        taken = await self._take_first(rules, exchange, prompt)
        if isinstance(taken, Respond):
            return taken
        state = Reserved((taken,), prompt, prompt, bodiless)
        encodings = accepted(request.headers.get("accept-encoding"))
        told = next(rule.told for rule in rules if rule.tokens)
        changes = {} if encodings is None else {"accept-encoding": encodings}
        return Continue(state=state, set_headers=changes, facts=(told,))

    def _reads(self, request: Request, state: Reserved) -> bool:
        """Whether it says what it asks for where we can read it."""
        readable, _ = coding_of(request.headers)
        short = (length_of(request.headers) or 0) <= self.max_body_bytes
        return readable and short and is_json(request.headers) and not state.bodiless

    async def _top_up(self, exchange: Exchange, state: Reserved) -> Verdict:
        """Raises: Unavailable; Malformed, if nobody can say whether its stream will tell the usage."""
        request = exchange.request
        if not self._reads(request, state):
            return Continue()
        _, coding = coding_of(request.headers)
        text = await decoded(request.body or b"", coding, self.max_body_bytes, _pause)
        asked = NOTHING if text is None else await read_asked(text, _pause)
        if asked.ambiguous and completes(request):
            raise Malformed("it says twice whether its stream tells the usage, or is not in UTF-8")
        prompt = tokens_of(_size(request, text, self.max_body_bytes))
        tokens = max(state.tokens, min(MOST, prompt + self._output(request, asked)))
        rules, demands = more_of(state.takes[0], tokens)
        more = await self._take(rules, demands) if demands else None
        if isinstance(more, Respond):
            state.fate.refused = True
            return more
        takes = state.takes if more is None else (*state.takes, more)
        edit = asked.include_usage if completes(request) else None
        state = replace(state, takes=takes, tokens=tokens, prompt=prompt, asked=edit is not None)
        if edit is None or text is None:
            return Continue(state=state)
        return Continue(state=state, body=edit.apply(text), remove_headers=("content-encoding",) if coding else ())

    def _output(self, request: Request, asked: Asked) -> int:
        if not makes_text(request):
            return 0
        return asked.times * (self._reserve_output if asked.output is None else asked.output)

    def _cut(self, request: Request, state: Reserved) -> Cut | None:
        if self._cut_after is None:
            return None
        name = request.headers.get("x-request-id") or ""
        return Cut(state.tokens * self._cut_after, state.prompt, name if REQUEST_ID.fullmatch(name) else "")

    async def _return(self, state: Reserved) -> None:
        """Everything, as if nobody had asked. Raises: Unavailable."""
        await self._settle_all([(taken, [0] * len(taken.demands)) for taken in state.takes])

    async def _settle_all(self, charged: Iterable[tuple[Taken, Sequence[int]]]) -> None:
        """Every question, even if one before it could not be settled. Raises: Unavailable, if some could not."""
        failed: Unavailable | None = None
        for taken, used in charged:
            try:
                await self._settle(taken, used)
            except Unavailable as error:
                failed = error
        if failed:
            raise failed

    async def _charge(self, state: Reserved, status: int | None, *, reached: bool) -> int:
        """The most that a limit was charged. Raises: Unavailable."""
        await self._settle_all(charges(state, status, reached=reached))
        return price(state, status, state.tokens, reached=reached)


def _size(request: Request, text: bytes | None, most: int) -> int:
    """Bytes of a request, decoded. What cannot be decoded, or becomes larger than what is read, counts as that much."""
    if text is not None:
        return len(text)
    size = len(request.body or b"")
    _, coding = coding_of(request.headers)
    return size if coding is None else max(size, most)


def _tell(state: Reserved, seen: Seen) -> Verdict:
    return Continue(state=replace(state, seen=seen), report=told(seen.usage))


def _answer(kind: Kind) -> Answer:
    match kind:
        case Kind.STREAM:
            return Stream()
        case Kind.JSON:
            return Json()
        case Kind.LINES:
            return Lines()
        case _:
            return Other()


async def _pause() -> None:
    await asyncio.sleep(0)
