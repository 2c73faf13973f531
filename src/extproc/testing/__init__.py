"""What the tests of a filter need: an exchange, an outside made of plain values, and a conversation with the engine.

    from extproc.testing import chain, context, exchange, go_on, headers, immediate, link, play, run

    verdict = run(Teapot(Config(), context()).decide(Phase.REQUEST_HEADERS, exchange()))
    assert play(chain(link(teapot)), headers(authorization="Bearer bad")) == [immediate(401)]

Nothing here opens a socket, reads a clock or needs an event loop.
"""

from extproc.testing.answer import Answer, GoOn, Immediate, go_on, immediate
from extproc.testing.conversation import Conversation, FixedPolicy, pace, play, run
from extproc.testing.make import (
    body,
    caller,
    chain,
    exchange,
    headers,
    link,
    response,
    response_body,
    response_trailers,
    trailers,
)
from extproc.testing.outside import Clock, Counters, PlainOutside, Reviewer, Secrets, context

__all__ = [
    "Answer",
    "Clock",
    "Conversation",
    "Counters",
    "FixedPolicy",
    "GoOn",
    "Immediate",
    "PlainOutside",
    "Reviewer",
    "Secrets",
    "body",
    "caller",
    "chain",
    "context",
    "exchange",
    "go_on",
    "headers",
    "immediate",
    "link",
    "pace",
    "play",
    "response",
    "response_body",
    "response_trailers",
    "run",
    "trailers",
]
