"""Every kind of exchange that a server meets, and how each may end: most are good ones, some are left at each point, and some
were never meant well.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count

from bench.soak import lines
from bench.soak.talk import Line, Over, Talk
from extproc.core.upstream import BACKEND, PASS, UPSTREAM
from extproc.wire.codec import INTERNAL, TOKEN
from extproc.wire.pb.external_processor_pb2 import ProcessingResponse

Play = Callable[[Line], Awaitable[str]]
TRIES = (f"{PASS}", UPSTREAM), (BACKEND, "egress/tried")
SSE, JSON = lines.answering("text/event-stream"), lines.answering("application/json")
ASKED, ANSWERED, STREAMED = lines.asked(), lines.answered(), tuple(lines.streamed())
PLAIN, WITH_BODY = lines.opening(), lines.opening(body=lines.ASKED)
TALKING = lines.opening(body=lines.ASKED, host="talking.example")
KEY = b"Bearer sk-soak"
NUMBERS = count()
"""Of names that never come again."""


@dataclass(frozen=True)
class Kind:
    """`share`: of a thousand exchanges. `ends`: how it may end; `broken`: also while a dependency is down, or just was."""

    name: str
    share: int
    play: Play
    ends: frozenset[str]
    broken: frozenset[str] = frozenset()


def said(answer: ProcessingResponse, *, holds: bytes = b"") -> str:
    """What an answer says: the status of a denial, or that the exchange goes on."""
    if answer.HasField("immediate_response"):
        return str(answer.immediate_response.status.code)
    return "ok" if holds in answer.SerializeToString() else "ok, and not what was due"


def alone(message: bytes, *, holds: bytes = b"") -> Play:
    """A request of one message, and a reset."""

    async def play(line: Line) -> str:
        with line.talk() as talk:
            return said(await talk.ask(message), holds=holds)

    return play


def left(*messages: bytes, heard: int) -> Play:
    """A client that goes away: after it has said these, and has heard so many answers."""

    async def play(line: Line) -> str:
        with line.talk() as talk:
            for number, message in enumerate(messages):
                await talk.say(message)
                if number < heard:
                    await talk.hear()
        return "left"

    return play


def refused(*messages: bytes) -> Play:
    """What must not be said: how the server ends it, however much it has answered before."""

    async def play(line: Line) -> str:
        with line.talk() as talk:
            try:
                for message in messages:
                    await talk.ask(message)
            except Over as over:
                return over.status
            return "ok"

    return play


async def closed(line: Line) -> str:
    """Both halves are closed in order."""
    with line.talk() as talk:
        told = said(await talk.ask(PLAIN), holds=KEY)
        return told if told != "ok" else await talk.end()


async def half_closed(line: Line) -> str:
    """The client's half ends before the body that it has announced."""
    with line.talk() as talk:
        await talk.ask(WITH_BODY)
        return await talk.end()


async def nothing_said(line: Line) -> str:
    with line.talk() as talk:
        return await talk.end()


async def body(line: Line) -> str:
    with line.talk() as talk:
        await talk.ask(WITH_BODY)
        answer = await talk.ask(ASKED)
        gone = lines.ADDRESS not in answer.request_body.response.body_mutation.body
        return said(answer, holds=b"[EMAIL_ADDRESS_1]") if gone else "the address has left"


async def slow(line: Line) -> str:
    """Other exchanges pass by between its messages."""
    with line.talk() as talk:
        await talk.ask(WITH_BODY)
        await asyncio.sleep(0.05)
        return said(await talk.ask(ASKED), holds=b"[EMAIL_ADDRESS_1]")


async def whole(line: Line) -> str:
    """To the end of an answer, from which tokens are settled."""
    with line.talk() as talk:
        await talk.ask(TALKING)
        await talk.ask(ASKED)
        await talk.ask(JSON)
        return said(await talk.ask(ANSWERED), holds=lines.ADDRESS)


async def chat(line: Line) -> str:
    """A streamed answer. How many messages come back is the server's matter: the last one says so."""
    with line.talk() as talk:
        await _until_the_answer(talk)
        for message in STREAMED:
            await talk.say(message)
        heard = b""
        while True:
            answer = await talk.hear()
            if answer.HasField("immediate_response"):
                return said(answer)
            piece = answer.response_body.response.body_mutation.streamed_response
            heard += piece.body
            if piece.end_of_stream:
                return "ok" if lines.ADDRESS in heard else "ok, and not what was due"


async def chat_left(line: Line) -> str:
    """A caller that goes away in mid-answer."""
    with line.talk() as talk:
        await _until_the_answer(talk)
        for piece in STREAMED[: len(STREAMED) // 2]:
            await talk.say(piece)
        await talk.hear()
    return "left"


async def tries(line: Line) -> str:
    """The downstream pass, and two tries with what it gave."""
    with line.talk() as talk:
        answer = await talk.ask(TRIED)
        if answer.HasField("immediate_response"):
            return said(answer)
        token = answer.dynamic_metadata.fields[INTERNAL].struct_value.fields[TOKEN].string_value
        first = lines.attempt(token, "tried.example")
        for _ in range(2):
            with line.talk(TRIES) as each:
                told = said(await each.ask(first), holds=KEY)
                if told != "ok":
                    return told
        return "ok"


async def forged(line: Line) -> str:
    """A try that no downstream pass has sent."""
    with line.talk(TRIES) as talk:
        return said(await talk.ask(FORGED))


async def stranger(line: Line) -> str:
    """A token that was never seen, each time: caches fill up."""
    with line.talk() as talk:
        return said(await talk.ask(lines.opening(authorization=f"Bearer nobody-{next(NUMBERS)}")))


async def keyed(line: Line) -> str:
    """A key of a limit that was never seen, each time: counters age out."""
    with line.talk() as talk:
        return said(await talk.ask(lines.opening(host="keyed.example", x_soak_key=f"key-{next(NUMBERS)}")))


async def _until_the_answer(talk: Talk) -> None:
    await talk.ask(TALKING)
    await talk.ask(ASKED)
    await talk.ask(SSE)


TRIED = lines.opening(host="tried.example")
FORGED = lines.attempt("forged", "tried.example")
REFUSED = frozenset({"FAILED_PRECONDITION"})
LEFT, OK = frozenset({"left"}), frozenset({"ok"})
DOWN = frozenset({"503", "504"})


def _kinds() -> Iterator[Kind]:
    yield Kind("one message", 557, alone(PLAIN, holds=KEY), OK)
    yield Kind("one message, closed in order", 260, closed, frozenset({"OK"}))
    yield Kind("with a body", 30, body, OK)
    yield Kind("with an answer and its tokens", 12, whole, OK)
    yield Kind("a streamed chat", 5, chat, OK)
    yield Kind("downstream pass and two tries", 10, tries, OK)
    yield Kind("a key of its own", 10, keyed, OK)
    yield Kind("counted in Redis", 12, alone(lines.opening(host="counted.example")), OK, DOWN)
    yield Kind("a secret from Vault", 12, alone(lines.opening(host="remote.example"), holds=KEY), OK, DOWN)
    yield Kind("a slow client", 3, slow, OK)
    yield Kind("left before the first message", 5, left(heard=0), LEFT)
    yield Kind("left before the first answer", 10, left(PLAIN, heard=0), LEFT)
    yield Kind("left after the headers", 5, left(WITH_BODY, heard=1), LEFT)
    yield Kind("left before the body's answer", 5, left(WITH_BODY, ASKED, heard=1), LEFT)
    yield Kind("left before the upstream's answer", 5, left(TALKING, ASKED, heard=2), LEFT)
    yield Kind("left before the answer's body", 5, left(TALKING, ASKED, JSON, heard=3), LEFT)
    yield Kind("left in a streamed chat", 3, chat_left, LEFT)
    yield Kind("left with Redis asked", 3, left(lines.opening(host="counted.example"), heard=0), LEFT)
    yield Kind("left with Vault asked", 3, left(lines.opening(host="remote.example"), heard=0), LEFT)
    yield Kind("half closed before the body", 3, half_closed, frozenset({"OK"}))
    yield Kind("half closed, nothing said", 2, nothing_said, frozenset({"OK"}))
    yield Kind("no token", 4, alone(lines.opening(authorization="")), frozenset({"401"}))
    yield Kind("a stranger's token", 10, stranger, frozenset({"401"}))
    yield Kind("beyond its limit", 6, alone(lines.opening(host="narrow.example")), frozenset({"429", "ok"}))
    yield Kind("a host without a Backend", 3, alone(lines.opening(host="other.example")), frozenset({"403"}))
    yield Kind("a forged try", 2, forged, frozenset({"401"}))
    yield Kind("a reply of Envoy's own", 3, alone(lines.answering("text/plain", details="route_not_found")), OK)
    yield Kind("a body too large", 2, _too_large, frozenset({"413"}))
    yield Kind("a message too large", 1, refused(lines.asked(b"a" * 1_200_000)), frozenset({"RESOURCE_EXHAUSTED"}))
    yield Kind("no protobuf", 2, refused(b"\xff\xff\xff\xff"), REFUSED)
    yield Kind("an empty message", 2, refused(b""), REFUSED)
    yield Kind("headers twice", 2, refused(WITH_BODY, WITH_BODY), REFUSED)
    yield Kind("a body first", 2, refused(ASKED), REFUSED)
    yield Kind("an answer before its question", 1, refused(JSON), REFUSED)


async def _too_large(line: Line) -> str:
    with line.talk() as talk:
        await talk.ask(lines.opening(body=lines.LARGE))
        return said(await talk.ask(lines.asked(lines.LARGE)))


KINDS = tuple(_kinds())
