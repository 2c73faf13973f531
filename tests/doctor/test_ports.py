"""Whatever answers at an admin port is a sentence: nobody, somebody else, somebody hostile, somebody who is half dead."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from extproc.doctor import ask, examine
from extproc.doctor.finding import Code, Finding
from extproc.policy.names import Address

DUMP = json.dumps({"configs": []}).encode()
STATUS = json.dumps({"needs": {"budget": 0.8, "maxBodyBytes": 1}, "chains": []}).encode()
GOOD: Mapping[str, bytes] = {
    "/readyz": b"ok",
    "/metrics": b"",
    "/status": STATUS,
    "/config_dump": DUMP,
    "/clusters": b"{}",
    "/stats": b"{}",
}
NO_LISTENER = [Code.ENVOY_NO_LISTENER]
"""Of an Envoy that has nothing in its dump, and nothing else wrong."""


def head(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """A whole answer."""
    fields = [f"content-length: {len(body)}", "connection: close", *lines]
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode() + body


@asynccontextmanager
async def serving(answers: Mapping[str, bytes], *, hold: bool = False) -> AsyncIterator[Address]:
    """A port that says these bytes, by path; with `hold` it then keeps the connection open and says nothing more."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().partition("?")[0]
        writer.write(answers.get(target, head(b"not here", status="404 Not Found")))
        if hold:
            await over.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Address(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    finally:
        over.set()
        server.close()


async def found(server: Mapping[str, bytes], envoy: Mapping[str, bytes], *, hold: bool = False) -> list[Finding]:
    async with serving(server) as admin, serving(envoy, hold=hold) as other:
        return await examine(admin, other)


def said(*lines: str, **bodies: bytes) -> dict[str, bytes]:
    """What is right everywhere but here."""
    return {path: head(bodies.get(path.strip("/"), body), *lines) for path, body in GOOD.items()}


def codes(findings: list[Finding]) -> list[Code]:
    return [one.code for one in findings]


async def test_one_that_is_right_is_no_finding_of_the_port() -> None:
    assert codes(await found(said(), said())) == NO_LISTENER


DEEP = b'{"configs": ' + b"[" * 5000 + b"]" * 5000 + b"}"

HOSTILE: list[tuple[bytes, str]] = [
    (head(b"", "location: http://192.0.2.1/", status="302 Found"), "it answers /config_dump with status 302"),
    (head(b"no", status="403 Forbidden"), "it answers /config_dump with status 403"),
    (head(b"<html>"), "its answer to /config_dump is no JSON object"),
    (head(b"[1, 2]"), "its answer to /config_dump is no JSON object"),
    (head(b""), "its answer to /config_dump is no JSON object"),
    (head(b'{"configs": "\xff"}'), "its answer to /config_dump is no JSON object"),
    (head(DEEP), "its answer to /config_dump is no JSON object"),
    (head(gzip.compress(DUMP), "content-encoding: gzip"), "its answer to /config_dump is no JSON object"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "what answers there is no admin port (ClientResponseError)"),
    (b"", "what answers there is no admin port (ServerDisconnectedError)"),
    (head(DUMP)[:-4], "what answers there is no admin port (ClientPayloadError)"),
    (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", "what answers there is no admin port"),
    (head(b" " * 70_000), "its answer is larger than 65536 bytes"),
]


@pytest.mark.parametrize(("answer", "sentence"), HOSTILE, ids=[sentence for _, sentence in HOSTILE])
async def test_an_answer_that_is_none(answer: bytes, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.doctor.ask.MOST_BYTES", 65536)
    [finding] = await found(said(), {**said(), "/config_dump": answer})
    assert finding.code is Code.ENVOY_SILENT
    assert finding.problem.startswith(sentence)
    [other] = [one for one in await found({**said(), "/status": answer}, said()) if one.code not in NO_LISTENER]
    assert other.code is Code.SERVER_SILENT


async def test_one_that_stops_in_the_middle_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.doctor.ask.PATIENCE", 0.05)
    [finding] = await found(said(), {**said(), "/config_dump": head(DUMP)[:-4]}, hold=True)
    assert (finding.code, finding.problem) == (Code.ENVOY_SILENT, "it did not answer within 0.05 s")


async def test_two_ports_that_were_mixed_up_are_two_sentences() -> None:
    server = {path: said()[path] for path in ("/readyz", "/metrics", "/status")}
    envoy = {path: said()[path] for path in ("/config_dump", "/clusters", "/stats")}
    mixed = await found(envoy, server)
    assert codes(mixed) == [Code.SERVER_SILENT, Code.ENVOY_SILENT]
    assert [one.problem for one in mixed] == [
        "it answers /status with status 404",
        "it answers /config_dump with status 404",
    ]


async def test_a_server_that_does_not_say_what_it_needs() -> None:
    assert codes(await found(said(status=b"{}"), said())) == [Code.SERVER_NEEDS, *NO_LISTENER]


async def test_clocks_are_read_from_the_answers() -> None:
    late = f"date: {formatdate(time.time() - 3600, usegmt=True)}"
    now = f"date: {formatdate(time.time(), usegmt=True)}"
    assert codes(await found(said(now), said(now))) == NO_LISTENER
    assert codes(await found(said(now), said(late))) == [*NO_LISTENER, Code.SERVER_CLOCK]
    assert codes(await found(said(late), said(late))) == [*NO_LISTENER, Code.SERVER_CLOCK]


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 01 Jan 2026", "Fri, 99 Nov 99999 99:99:99 GMT", "1"])
async def test_a_date_that_is_none_is_no_clock(date: str) -> None:
    assert codes(await found(said(f"date: {date}"), said())) == NO_LISTENER


async def test_what_is_said_a_thousand_times_is_told_a_few_times_and_never_at_length() -> None:
    many = {"workers": {"x" * 5000 + str(number): None for number in range(1000)}}
    findings = await found(said(status=json.dumps(many).encode()), said())
    told = [one for one in findings if one.code is Code.SERVER_WORKER]
    assert len(told) == 21
    assert told[-1].problem == "the same in 980 more places"
    assert all(len(str(one)) < 1500 for one in findings)


async def test_a_socket_that_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ask.Unanswered, match="cannot be reached"):
        await ask.ask(Address(path=tmp_path / "file"), "/status")
