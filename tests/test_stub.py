"""The stub upstream: it answers in OpenAI's shapes, shows what it received, and fails on demand."""

from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from extproc.stub import Recorder, application

ASKED = {"model": "gpt-x", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def client(recorder: Recorder) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(application(recorder))) as client:
        yield client


async def test_completion_shows_what_was_received(client: TestClient) -> None:
    response = await client.post("/v1/chat/completions?a=b", json=ASKED, headers=[("x-two", "1"), ("x-two", "2")])
    answer = await response.json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "Hello from the stub."
    received = answer["x_received"]
    assert received["path"] == "/v1/chat/completions?a=b"
    assert [value for name, value in received["headers"] if name == "x-two"] == ["1", "2"]
    assert orjson.loads(received["body"]) == ASKED


@pytest.mark.parametrize("include_usage", [True, False])
async def test_stream_has_usage_only_if_asked(client: TestClient, include_usage: bool) -> None:
    asked = {**ASKED, "stream": True, "stream_options": {"include_usage": include_usage}}
    response = await client.post("/v1/chat/completions", json=asked)
    assert response.content_type == "text/event-stream"
    events = [part.removeprefix("data: ") for part in (await response.text()).split("\n\n") if part]
    assert events[-1] == "[DONE]"
    chunks = [orjson.loads(event) for event in events[:-1]]
    said = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    assert said == "Hello from the stub."
    assert ("usage" in chunks[-1]) is include_usage


async def test_embeddings_one_for_each_input(client: TestClient) -> None:
    response = await client.post("/v1/embeddings", json={"input": ["a", "b"]})
    assert [item["index"] for item in (await response.json())["data"]] == [0, 1]


async def test_models(client: TestClient) -> None:
    assert (await (await client.get("/v1/models")).json())["data"][0]["id"] == "stub-1"


@pytest.mark.parametrize("body", [b"", b"[1]", b"\xff", b"{"])
async def test_what_is_no_json_object_is_refused(client: TestClient, body: bytes) -> None:
    assert (await client.post("/v1/chat/completions", data=body)).status == 400


@pytest.mark.parametrize(("path", "status"), [("/status/503", 503), ("/slow/1ms", 200), ("/big/nonsense", 400)])
async def test_faults(client: TestClient, path: str, status: int) -> None:
    assert (await client.get(path)).status == status


async def test_fault_by_header(client: TestClient) -> None:
    response = await client.post("/v1/chat/completions", json=ASKED, headers={"x-stub-status": "429"})
    assert response.status == 429


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
    await client.put("/one", data=b"\xff1")
    await client.get("/two")
    listed = (await (await client.get("/__received")).json())["requests"]
    assert [request["path"] for request in listed] == ["/one", "/two"]
    assert listed[0]["body"] == "\ufffd1"
    assert recorder.last.method == "GET"
    assert recorder.requests[0].values("Content-Length") == ["2"]
