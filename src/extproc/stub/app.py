"""The stub upstream as an aiohttp application: the APIs of LLM providers, faults on demand, and an echo of anything else."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import orjson
from aiohttp import web

from extproc.stub.dialects import DIALECTS, Asked, Dialect, models
from extproc.stub.events import Event, framed
from extproc.stub.faults import add_faults, failed
from extproc.stub.memory import MEMORY, Memory, Transcript, record
from extproc.stub.received import Received, Recorder
from extproc.stub.said import Json, say
from extproc.stub.sending import JSON, plain_json, send, send_json
from extproc.stub.wishes import Unreadable, Wishes, read_wishes

LARGEST_BODY: Final = 64 * 1024 * 1024
SSE: Final = "text/event-stream"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(recorder: Recorder | None = None) -> web.Application:
    """The stub. A request is in `recorder` before it is answered; `GET /__received` shows the last ones.

    The answer is the same for the same request: a model whose name begins with `echo` says what the last message said,
    others say hello; a request that offers tools gets a call of each. What else a request may ask for, by `x-stub-*`, is
    in `wishes.Wishes`, and what goes wrong by path in `faults`.
    """
    app = web.Application(client_max_size=LARGEST_BODY)
    app[MEMORY] = Memory(recorder or Recorder())
    for dialect in DIALECTS:
        app.router.add_post(dialect.path, _serving(dialect))
    app.router.add_get("/v1/models", _models)
    app.router.add_get("/__received", _received)
    app.router.add_get("/__received/last", _last)
    app.router.add_post("/__release/{gate}", _release)
    app.router.add_put("/__transcripts/{name}", _keep)
    add_faults(app)
    app.router.add_route("*", "/{anything:.*}", _echo)
    return app


def _serving(dialect: Dialect) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        received = await record(request)
        wishes = _wishes(received)
        if answer := await _instead(request, wishes, dialect.error):
            return answer
        asked = Asked(_body(received), request.match_info, request.query.get("alt") == "sse")
        return await _answer(request, dialect, asked, wishes, received)

    return handle


async def _answer(
    request: web.Request, dialect: Dialect, asked: Asked, wishes: Wishes, received: Received
) -> web.StreamResponse:
    said = say(dialect.read(asked), wishes)
    if dialect.events is None or not dialect.streams(asked):
        return await send_json(request, {**dialect.whole(said, asked), "x_received": received.shown()}, wishes)
    if dialect.array(asked):
        return await send(request, _array(dialect.events(said, asked)), wishes, JSON)
    return await send(request, framed(dialect.events(said, asked), wishes), wishes, SSE)


def _array(events: Iterator[Event]) -> Iterator[bytes]:
    """Events as the elements of a JSON array, as Gemini sends them without `alt=sse`."""
    for number, event in enumerate(events):
        yield (b",\r\n" if number else b"[") + orjson.dumps(event.value)
    yield b"]"


async def _instead(request: web.Request, wishes: Wishes, error: Callable[[int], Json]) -> web.StreamResponse | None:
    """The error or the transcript that was asked for in the place of an answer."""
    memory = request.app[MEMORY]
    status = wishes.status
    if wishes.fail_first is not None:
        status = None if wishes.fail_first in memory.failed else wishes.status or 503
        memory.failed[wishes.fail_first] = True
    if wishes.transcript is not None:
        transcript = memory.transcripts[wishes.transcript]
        size = wishes.delta or max(1, len(transcript.body))
        pieces = (transcript.body[at : at + size] for at in range(0, len(transcript.body), size))
        return await send(request, pieces, wishes, transcript.media, status or 200)
    if status is None:
        return None
    return plain_json(error(status), status, {"retry-after": wishes.retry_after} if wishes.retry_after else None)


async def _models(request: web.Request) -> web.StreamResponse:
    received = await record(request)
    return plain_json({**models(), "x_received": received.shown()})


async def _received(request: web.Request) -> web.StreamResponse:
    return plain_json({"requests": [received.shown() for received in request.app[MEMORY].recorder.requests]})


async def _last(request: web.Request) -> web.StreamResponse:
    """The last request; its body as it came."""
    requests = request.app[MEMORY].recorder.requests
    if not requests:
        raise web.HTTPNotFound(text="nothing was received yet")
    return plain_json(requests[-1].shown())


async def _release(request: web.Request) -> web.StreamResponse:
    """Let `count` more pieces pass this gate (default: 1)."""
    count = request.query.get("count", "1")
    if not (count.isascii() and count.isdigit() and len(count) < 6):
        raise web.HTTPBadRequest(text="write ?count= with a number below 100000")
    for _ in range(int(count)):
        request.app[MEMORY].gates[request.match_info["gate"]].release()
    return web.Response(status=204)


async def _keep(request: web.Request) -> web.StreamResponse:
    """Remember an answer, to be asked for by `x-stub-transcript`."""
    media = request.headers.get("content-type", SSE)
    request.app[MEMORY].transcripts[request.match_info["name"]] = Transcript(media, await request.read())
    return web.Response(status=204)


async def _echo(request: web.Request) -> web.StreamResponse:
    received = await record(request)
    wishes = _wishes(received)
    if answer := await _instead(request, wishes, failed):
        return answer
    return await send_json(request, {"x_received": received.shown()}, wishes)


def _wishes(received: Received) -> Wishes:
    """Raises: web.HTTPBadRequest."""
    try:
        return read_wishes(received)
    except Unreadable as error:
        raise web.HTTPBadRequest(text=str(error)) from error


def _body(received: Received) -> Json:
    """The request's JSON object. Raises: web.HTTPBadRequest."""
    try:
        asked = orjson.loads(received.body)
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest(text="the body is no JSON") from error
    if not isinstance(asked, dict):
        raise web.HTTPBadRequest(text="the body is no JSON object")
    return asked
