"""How each API is asked, and what of each of its events is text: for tests that look at the bytes of a stream."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from tests.e2e.gateway import Gateway
from tests.e2e.processes import PATIENCE, Stub

LINE_END = re.compile(rb"\r\n|\r|\n")
MAIL = {"type": "object", "properties": {"body": {"type": "string"}}}


@dataclass(frozen=True)
class Speech:
    """One API, streamed. `text`: what an event adds to the text that a test looks at."""

    path: str
    ask: Callable[[str], dict[str, Any]]
    text: Callable[[Any], str]

    def heard(self, body: bytes) -> str:
        """All text of a stream, or of its beginning."""
        return "".join(self.text(orjson.loads(data)) for data in payloads(body) if data.startswith(b"{"))


def payloads(body: bytes) -> Iterator[bytes]:
    """The data of each whole event, as WHATWG HTML (9.2.6) says: one leading space goes, several lines are joined."""
    data: list[bytes] = []
    for line in LINE_END.split(body.removeprefix(b"\xef\xbb\xbf")):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        if not line and data:
            yield b"\n".join(data)
            data = []


def _chat(event: Any) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])


def _calls(event: Any) -> str:
    calls = (call for choice in event["choices"] for call in choice["delta"].get("tool_calls", ()))
    return "".join(call["function"]["arguments"] for call in calls)


def _completion(event: Any) -> str:
    return "".join(choice["text"] for choice in event["choices"])


def _response(event: Any) -> str:
    return event["delta"] if event["type"].endswith(".delta") else ""


def _message(event: Any) -> str:
    return event["delta"].get("text", "") if event["type"] == "content_block_delta" else ""


def _input(event: Any) -> str:
    return event["delta"].get("partial_json", "") if event["type"] == "content_block_delta" else ""


def _gemini(event: Any) -> str:
    return "".join(part["text"] for part in event["candidates"][0]["content"]["parts"])


def _ask(**more: Any) -> Callable[[str], dict[str, Any]]:
    said = {"model": "echo", "stream": True, "max_tokens": 4096, **more}
    return lambda text: {**said, "messages": [{"role": "user", "content": text}]}


USAGE = {"include_usage": True}
FUNCTION = {"type": "function", "function": {"name": "mail", "parameters": MAIL}}
SPEECHES: Mapping[str, Speech] = {
    "chat": Speech("/v1/chat/completions", _ask(stream_options=USAGE), _chat),
    "chat tools": Speech("/v1/chat/completions", _ask(stream_options=USAGE, tools=[FUNCTION]), _calls),
    "completions": Speech(
        "/v1/completions",
        lambda text: {"model": "echo", "stream": True, "stream_options": USAGE, "prompt": text},
        _completion,
    ),
    "responses": Speech("/v1/responses", lambda text: {"model": "echo", "stream": True, "input": text}, _response),
    "messages": Speech("/v1/messages", _ask(), _message),
    "messages tools": Speech("/v1/messages", _ask(tools=[{"name": "mail", "input_schema": MAIL}]), _input),
    "gemini": Speech(
        "/v1beta/models/echo:streamGenerateContent?alt=sse",
        lambda text: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
        _gemini,
    ),
}


class Stream:
    """A streamed answer that is being read: the bytes that have come so far."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.body = b""
        self._pieces = response.iter_raw()

    def at_least(self, size: int) -> bytes:
        """Read on until so many bytes are here, and not further than that takes.

        Raises: httpx.ReadTimeout where they do not come, AssertionError where the stream ends.
        """
        while len(self.body) < size:
            self._more()
        return self.body

    def says(self, speech: Speech, size: int) -> str:
        """The same for characters of text. Raises: AssertionError, also where they do not come."""
        text = ""
        try:
            while len(text := speech.heard(self.body)) < size:
                self._more()
        except httpx.ReadTimeout:
            raise AssertionError(f"no more than {text!r}, which has not {size} characters") from None
        return text

    def _more(self) -> None:
        piece = next(self._pieces, None)
        assert piece is not None, f"the stream has ended after {self.body!r}"
        self.body += piece

    def rest(self) -> bytes:
        """Everything."""
        self.body += b"".join(self._pieces)
        return self.body


class Talk:
    """Requests through a gateway to the stub behind it, the answers read byte by byte."""

    def __init__(self, gate: Gateway, stub: Stub, headers: Mapping[str, str] | None = None) -> None:
        """`headers` go with each request."""
        self.gate, self.stub, self._headers = gate, stub, headers or {}
        self._direct = httpx.Client(base_url=f"http://127.0.0.1:{stub.port}", timeout=PATIENCE)

    def open(self, client: httpx.Client, speech: Speech, text: str, **wished: str) -> Any:
        """The context of one streamed answer."""
        return client.stream("POST", speech.path, json=speech.ask(text), headers={**self._headers, **wishes(**wished)})

    def ask(self, speech: Speech, text: str, **wished: str) -> bytes:
        """A whole streamed answer."""
        with self.gate.client() as client, self.open(client, speech, text, **wished) as response:
            assert response.status_code == 200
            return Stream(response).rest()

    def events(self, speech: Speech, text: str, **wished: str) -> list[bytes]:
        """The events that the stub sends in answer to what leaves the gateway, as bytes: as long as the lines end in `\\n`."""
        self.ask(speech, text, **wished)
        left = self.stub.recorder.last
        answer = self._direct.post(left.path, content=left.body, headers=wishes(**wished))
        return [part + b"\n\n" for part in answer.content.split(b"\n\n") if part]

    def release(self, gate: str, count: int = 1) -> None:
        """Let so many events leave the stub."""
        self._direct.post(f"/__release/{gate}?count={count}").raise_for_status()

    def keep(self, name: str, body: bytes, media: str = "text/event-stream") -> None:
        """Give the stub an answer, to be asked for as `transcript=name`."""
        headers = {"content-type": media}
        self._direct.put(f"/__transcripts/{name}", content=body, headers=headers).raise_for_status()

    def close(self) -> None:
        self._direct.close()


def wishes(**wished: str) -> dict[str, str]:
    return {f"x-stub-{name.replace('_', '-')}": value for name, value in wished.items()}
