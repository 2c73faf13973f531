"""The stub upstream: it speaks the wire of LLM APIs, shows what it received, and fails on demand."""

import asyncio
import gzip
import socket
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import brotli
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from extproc.stub import Recorder, application

ASKED = {"model": "gpt-x", "messages": [{"role": "user", "content": "hi"}]}
ECHO = {"model": "echo", "messages": [{"role": "user", "content": "what was asked"}], "stream": True}
CHAT = "/v1/chat/completions"
CODED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def client(recorder: Recorder) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(application(recorder)), auto_decompress=False) as client:
        yield client


async def events(client: TestClient, asked: Mapping[str, Any], path: str = CHAT, **wishes: str) -> list[Any]:
    """The data of a streamed answer's events, as JSON where it is."""
    response = await client.post(path, json=asked, headers=wished(wishes))
    assert response.content_type == "text/event-stream"
    lines = (await response.text()).split("\n")
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [orjson.loads(one) if one != "[DONE]" else one for one in data]


def wished(wishes: Mapping[str, str]) -> dict[str, str]:
    return {f"x-stub-{name.replace('_', '-')}": value for name, value in wishes.items()}


def text(chunks: list[Any]) -> str:
    return "".join(c["delta"].get("content") or "" for chunk in chunks[:-1] for c in chunk["choices"])


async def test_completion_shows_what_was_received(client: TestClient) -> None:
    response = await client.post(f"{CHAT}?a=b", json=ASKED, headers=[("x-two", "1"), ("x-two", "2")])
    answer = await response.json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "Hello from the stub."
    received = answer["x_received"]
    assert received["path"] == f"{CHAT}?a=b"
    assert [value for name, value in received["headers"] if name == "x-two"] == ["1", "2"]
    assert orjson.loads(received["body"]) == ASKED


@pytest.mark.parametrize("include_usage", [True, False])
async def test_stream_has_usage_only_if_asked(client: TestClient, include_usage: bool) -> None:
    options = {"stream_options": {"include_usage": include_usage}}
    chunks = await events(client, {**ASKED, "stream": True, **options})
    assert chunks[-1] == "[DONE]"
    assert text(chunks) == "Hello from the stub."
    assert bool(chunks[-2].get("usage")) is include_usage


@pytest.mark.parametrize(("delta", "count"), [("1", 14), ("3", 5), ("100", 1)])
async def test_an_echo_in_deltas_of_the_size_that_was_asked_for(client: TestClient, delta: str, count: int) -> None:
    chunks = await events(client, ECHO, delta=delta)
    assert text(chunks) == "what was asked"
    assert len(chunks) == count + 3  # the role, the reason to end, and [DONE]


async def test_wishes_in_the_metadata(client: TestClient) -> None:
    chunks = await events(client, {**ECHO, "metadata": {"x-stub-delta": "5"}})
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[1:4]] == ["what ", "was a", "sked"]


async def test_choices_come_in_turns(client: TestClient) -> None:
    chunks = await events(client, {**ECHO, "n": 2})
    assert [chunk["choices"][0]["index"] for chunk in chunks[:6]] == [0, 1, 0, 1, 0, 1]


async def test_a_call_in_fragments(client: TestClient) -> None:
    tool = {"type": "function", "function": {"name": "mail", "parameters": {"properties": {"to": {}}}}}
    chunks = await events(client, {**ECHO, "tools": [tool]}, delta="4")
    calls = [
        c["delta"]["tool_calls"][0] for chunk in chunks[:-1] for c in chunk["choices"] if "tool_calls" in c["delta"]
    ]
    assert calls[0]["function"]["name"] == "mail"
    assert len(calls) > 3
    assert orjson.loads("".join(call["function"]["arguments"] for call in calls)) == {"to": "what was asked"}


async def test_embeddings_one_for_each_input(client: TestClient) -> None:
    response = await client.post("/v1/embeddings", json={"input": ["a", "b"]})
    assert [item["index"] for item in (await response.json())["data"]] == [0, 1]


async def test_models(client: TestClient) -> None:
    assert (await (await client.get("/v1/models")).json())["data"][0]["id"] == "stub-1"


GEMINI = "/v1beta/models/echo:streamGenerateContent"
GEMINI_ASKED = {"contents": [{"role": "user", "parts": [{"text": "what was asked"}]}]}


def gemini_text(answers: list[Any]) -> str:
    return "".join(answer["candidates"][0]["content"]["parts"][0]["text"] for answer in answers)


async def test_gemini_as_events(client: TestClient) -> None:
    answers = await events(client, GEMINI_ASKED, f"{GEMINI}?alt=sse", delta="3")
    assert gemini_text(answers) == "what was asked"
    assert answers[-1]["usageMetadata"]["totalTokenCount"] == 8


async def test_gemini_as_an_array(client: TestClient) -> None:
    response = await client.post(GEMINI, json=GEMINI_ASKED)
    assert response.content_type == "application/json"
    assert gemini_text(await response.json()) == "what was asked"


async def test_gemini_at_once_and_its_calls(client: TestClient) -> None:
    path = "/v1beta/models/echo:generateContent"
    assert gemini_text([await (await client.post(path, json=GEMINI_ASKED)).json()]) == "what was asked"
    functions = {"functionDeclarations": [{"name": "mail", "parameters": {"properties": {"to": {}}}}]}
    answer = await (await client.post(path, json={**GEMINI_ASKED, "tools": [functions]})).json()
    call = answer["candidates"][0]["content"]["parts"][0]["functionCall"]
    assert call == {"name": "mail", "args": {"to": "what was asked"}}


@pytest.mark.parametrize("body", [b"", b"[1]", b"\xff", b"{"])
async def test_what_is_no_json_object_is_refused(client: TestClient, body: bytes) -> None:
    assert (await client.post(CHAT, data=body)).status == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/status/503", 503), ("/status/abc", 400), ("/status/99999", 400), ("/slow/1ms", 200), ("/slow/abc", 400),
        ("/big/nonsense", 400),
    ],
)  # fmt: skip
async def test_faults(client: TestClient, path: str, status: int) -> None:
    assert (await client.get(path)).status == status


@pytest.mark.parametrize(
    ("path", "member", "value"),
    [
        (CHAT, ("error", "type"), "rate_limit_error"),
        ("/v1/messages", ("error", "type"), "rate_limit_error"),
        (GEMINI, ("error", "status"), "RESOURCE_EXHAUSTED"),
        ("/anything", ("error", "type"), "stub"),
    ],
)
async def test_errors_in_the_shape_of_the_provider(
    client: TestClient, path: str, member: tuple[str, str], value: str
) -> None:
    response = await client.post(path, json=ASKED, headers=wished({"status": "429", "retry_after": "3"}))
    assert (response.status, response.headers["retry-after"]) == (429, "3")
    assert (await response.json())[member[0]][member[1]] == value


async def test_the_first_attempt_with_a_word_fails(client: TestClient) -> None:
    words = ["one", "one", "other", "other", "one"]
    asked = [await client.post(CHAT, json=ASKED, headers=wished({"fail_first": word})) for word in words]
    assert [response.status for response in asked] == [503, 200, 503, 200, 200]


@pytest.mark.parametrize("coding", CODED)
@pytest.mark.parametrize("stream", [True, False])
async def test_content_codings(client: TestClient, coding: str, stream: bool) -> None:
    response = await client.post(CHAT, json={**ECHO, "stream": stream}, headers=wished({"coding": coding}))
    assert response.headers["content-encoding"] == coding
    assert b"asked" in CODED[coding](await response.read())


@pytest.mark.parametrize(("lines", "end"), [("crlf", b"\r\n"), ("cr", b"\r")])
async def test_line_ends(client: TestClient, lines: str, end: bytes) -> None:
    body = await (await client.post(CHAT, json=ECHO, headers=wished({"lines": lines}))).read()
    assert body.endswith(b"data: [DONE]" + end + end)
    assert b"\n" not in body.replace(end, b"")


async def test_noise_and_data_of_several_lines(client: TestClient) -> None:
    response = await client.post(CHAT, json=ECHO, headers=wished({"noise": "yes", "multiline": "yes", "long": "1000"}))
    body = await response.text()
    assert ": keep-alive\n\n" in body
    assert "retry: 3000\n" in body
    first = next(part for part in body.split("\n\n") if "data:" in part).split("\n")
    data = [line.removeprefix("data:") for line in first if line.startswith("data:")]
    assert len(data) > 5
    assert orjson.loads("\n".join(data))["obfuscation"] == "x" * 1000


@pytest.mark.parametrize(
    ("claim", "usage"),
    [("none", None), ("7/5", (7, 5, 12)), ('"many"/null', ("many", None, "many")), ("-1/1e99", (-1, 1e99, 1e99))],
)
async def test_usage_as_it_is_told(client: TestClient, claim: str, usage: tuple[Any, ...] | None) -> None:
    answer = await (await client.post(CHAT, json=ASKED, headers=wished({"usage": claim}))).json()
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert answer.get("usage") == (dict(zip(names, usage, strict=True)) if usage else None)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_breaks_off(client: TestClient, stream: bool) -> None:
    asked = {**ECHO, "stream": stream}
    response = await client.post(CHAT, json=asked, headers=wished({"break_after": "2"}))
    assert response.status == 200
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()


async def test_trailers(client: TestClient) -> None:
    """As they are on the wire, since the client drops them; and the connection goes on."""
    assert client.port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    body = orjson.dumps(ECHO)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-stub-trailers: yes\r\ncontent-length: {len(body)}\r\n\r\n"
    for _ in range(2):
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n0\r\nx-stub-trailer: the end\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


async def test_each_event_waits_to_be_let_through(client: TestClient) -> None:
    """After each release, and a whole request more, one event more has come."""
    async with client.post(CHAT, json=ECHO, headers=wished({"gate": "mine"})) as response:
        said = b""
        for _ in range(6):
            await client.post("/__release/mine")
            said += await response.content.readuntil(b"\n\n")
            await client.get("/other")
            assert response.content.total_bytes == len(said)
        assert said.endswith(b"data: [DONE]\n\n")
    assert (await client.post("/__release/mine?count=many")).status == 400


async def test_a_transcript(client: TestClient) -> None:
    said = b"\xef\xbb\xbfdata: odd\r\r\n: end"
    await client.put("/__transcripts/odd", data=said, headers={"content-type": "text/event-stream"})
    response = await client.post("/any/path", headers=wished({"transcript": "odd", "delta": "2"}))
    assert response.content_type == "text/event-stream"
    assert await response.read() == said
    assert (await client.post("/x", headers=wished({"transcript": "odd", "status": "418"}))).status == 418
    assert (await client.post("/x", headers=wished({"transcript": "unknown"}))).status == 400


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"speed": "1"}, "x-stub-speed is no wish; there are x-stub-delta, "),
        ({"delta": "0"}, "x-stub-delta: '0' is no number from 1 to 1000000"),
        ({"lines": "odd"}, "x-stub-lines: 'odd' is none of lf, crlf, cr"),
        ({"delay": "5"}, "x-stub-delay: '5' is no duration"),
        ({"usage": "some"}, "x-stub-usage: 'some' is no usage: write none, or two JSON values"),
    ],
)
async def test_a_wish_that_is_not_understood(client: TestClient, wish: dict[str, str], sentence: str) -> None:
    response = await client.post(CHAT, json=ASKED, headers=wished(wish))
    assert response.status == 400
    assert sentence in await response.text()


async def test_big_has_the_bytes_that_it_announces(client: TestClient) -> None:
    response = await client.get("/big/2MiB")
    assert len(await response.read()) == int(response.headers["content-length"]) == 2 * 1024 * 1024


async def test_reset_closes_the_connection(client: TestClient) -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.get("/reset")


async def test_headers_are_echoed(client: TestClient) -> None:
    response = await client.get("/echo-headers", headers=[("x-two", "1"), ("x-two", "2")])
    assert response.headers.getall("x-echo-x-two") == ["1", "2"]


async def test_last_requests_are_listed(client: TestClient, recorder: Recorder) -> None:
    assert (await client.get("/__received/last")).status == 404
    await client.put("/one", data=b"\xff1")
    await client.get("/two")
    listed = (await (await client.get("/__received")).json())["requests"]
    assert [request["path"] for request in listed] == ["/one", "/two"]
    assert listed[0]["body"] == "\ufffd1"
    assert (await (await client.get("/__received/last")).json())["path"] == "/two"
    assert recorder.last.method == "GET"
    assert recorder.requests[0].values("Content-Length") == ["2"]


def test_a_port_that_is_taken_is_said_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        argv = [sys.executable, "-m", "extproc.stub", "--listen", address]
        ran = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[1:] == [
        f"error: the stub upstream cannot listen on {address} (Address already in use): end what uses it"
    ]
