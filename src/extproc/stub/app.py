"""The stub upstream as an aiohttp application: three routes of OpenAI's API, faults on demand, and an echo of anything else."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from extproc.schema import seconds
from extproc.stub import answers
from extproc.stub.received import Received, Recorder

RECORDER: Final = web.AppKey("recorder", Recorder)
LARGEST_BODY: Final = 64 * 1024 * 1024
BLOCK: Final = b"x" * 65536
SIZE: Final = re.compile(r"(\d{1,9})(B|KiB|MiB)")
UNITS: Final = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024}


def application(recorder: Recorder | None = None) -> web.Application:
    """The stub. A request is in `recorder` before it is answered.

    Faults: `/status/503` answers so, `/slow/500ms` waits first, `/big/2MiB` answers so many bytes, `/reset` closes the
    connection, `/echo-headers` answers with the request's headers, each as `x-echo-<name>`; `x-stub-status` and
    `x-stub-delay` (before each event of a stream) do so on any path.
    """
    app = web.Application(client_max_size=LARGEST_BODY)
    app[RECORDER] = recorder or Recorder()
    app.router.add_post("/v1/chat/completions", _chat)
    app.router.add_post("/v1/embeddings", _embeddings)
    app.router.add_get("/v1/models", _models)
    app.router.add_get("/__received", _received)
    app.router.add_route("*", "/status/{status}", _status)
    app.router.add_route("*", "/slow/{delay}", _slow)
    app.router.add_route("*", "/big/{size}", _big)
    app.router.add_route("*", "/reset", _reset)
    app.router.add_route("*", "/echo-headers", _echo_headers)
    app.router.add_route("*", "/{anything:.*}", _echo)
    return app


async def _chat(request: web.Request) -> web.StreamResponse:
    received = await _record(request)
    asked = _asked(received)
    if status := request.headers.get("x-stub-status"):
        return _failed(int(status))
    if asked.get("stream") is not True:
        await _wait(request)
        return _json(answers.completion(asked, received.shown()))
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for chunk in answers.chunks(asked, received.shown()):
        await _wait(request)
        await response.write(b"data: " + orjson.dumps(chunk) + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


async def _embeddings(request: web.Request) -> web.StreamResponse:
    received = await _record(request)
    return _json(answers.embeddings(_asked(received), received.shown()))


async def _models(request: web.Request) -> web.StreamResponse:
    return _json(answers.models((await _record(request)).shown()))


async def _received(request: web.Request) -> web.StreamResponse:
    return _json({"requests": [received.shown() for received in request.app[RECORDER].requests]})


async def _status(request: web.Request) -> web.StreamResponse:
    await _record(request)
    return _failed(int(request.match_info["status"]))


async def _slow(request: web.Request) -> web.StreamResponse:
    received = await _record(request)
    await asyncio.sleep(seconds(request.match_info["delay"]))
    return _json({"x_received": received.shown()})


async def _big(request: web.Request) -> web.StreamResponse:
    await _record(request)
    match = SIZE.fullmatch(request.match_info["size"])
    if match is None:
        raise web.HTTPBadRequest(text="write the size as /big/2MiB, with B, KiB or MiB")
    left = int(match[1]) * UNITS[match[2]]
    response = web.StreamResponse(headers={"content-type": "text/plain", "content-length": str(left)})
    await response.prepare(request)
    while left:
        block = BLOCK[:left]
        await response.write(block)
        left -= len(block)
    return response


async def _reset(request: web.Request) -> web.StreamResponse:
    await _record(request)
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _echo_headers(request: web.Request) -> web.StreamResponse:
    received = await _record(request)
    response = _json({})
    for name, value in received.headers:
        response.headers.add(f"x-echo-{name}", value)
    return response


async def _echo(request: web.Request) -> web.StreamResponse:
    received = await _record(request)
    if status := request.headers.get("x-stub-status"):
        return _failed(int(status))
    await _wait(request)
    return _json({"x_received": received.shown()})


async def _record(request: web.Request) -> Received:
    received = await Received.of(request)
    request.app[RECORDER].add(received)
    return received


async def _wait(request: web.Request) -> None:
    if delay := request.headers.get("x-stub-delay"):
        await asyncio.sleep(seconds(delay))


def _asked(received: Received) -> Mapping[str, Any]:
    """The request's JSON object. Raises: web.HTTPBadRequest."""
    try:
        asked = orjson.loads(received.body)
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest(text="the body is no JSON") from error
    if not isinstance(asked, dict):
        raise web.HTTPBadRequest(text="the body is no JSON object")
    return asked


def _json(value: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


def _failed(status: int) -> web.Response:
    return _json({"error": {"type": "stub", "code": str(status), "message": "on demand"}}, status)
