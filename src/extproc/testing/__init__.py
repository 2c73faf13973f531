"""What the tests of a filter need: an exchange, an outside made of plain values, and a conversation with the engine.

    from extproc.testing import chain, context, exchange, go_on, headers, immediate, link, play, run

    verdict = run(Teapot(Config(), context()).decide(Phase.REQUEST_HEADERS, exchange()))
    assert play(chain(link(teapot)), headers(authorization="Bearer bad")) == [immediate(401)]

Nothing here opens a socket, reads a clock or needs an event loop.
"""

from extproc.testing.answer import Answer, GoOn, Immediate, go_on, immediate
from extproc.testing.conversation import Conversation, FixedPolicy, pace, play, run
from extproc.testing.faults import Down, Late
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
from extproc.testing.streams import fed, pieces, sent, splits
from extproc.testing.trying import TryConversation, play_try

__all__ = [
    "Answer",
    "Clock",
    "Conversation",
    "Counters",
    "Down",
    "FixedPolicy",
    "GoOn",
    "Immediate",
    "Late",
    "PlainOutside",
    "Reviewer",
    "Secrets",
    "TryConversation",
    "body",
    "caller",
    "chain",
    "context",
    "exchange",
    "fed",
    "go_on",
    "headers",
    "immediate",
    "link",
    "pace",
    "pieces",
    "play",
    "play_try",
    "response",
    "response_body",
    "response_trailers",
    "run",
    "sent",
    "splits",
    "trailers",
]
