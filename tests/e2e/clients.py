"""Clients that do what well-behaved ones do not: bytes on a socket, and HTTP/2 frame by frame."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPResponse

import h2.config
import h2.connection
import h2.events
import orjson

PATIENCE = 15.0
"""Seconds that a test waits for bytes."""


@dataclass(frozen=True)
class Answer:
    """A response, read to its end. `aborted` says that the stream was reset before that."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    aborted: bool = False

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def json(self) -> dict:
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a denial."""
        return self.json["error"]["code"]


def http1(port: int, sent: bytes) -> Answer:
    """Send these bytes and read one response."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(sent)
        return read_http1(connection, sent.partition(b" ")[0].decode("latin-1"))


def read_http1(connection: socket.socket, method: str = "GET") -> Answer:
    response = HTTPResponse(connection, method=method)
    response.begin()
    headers = tuple(response.getheaders())
    return Answer(response.status, headers, response.read())


def request_bytes(
    method: str = "GET",
    path: str = "/",
    headers: Iterable[tuple[str, str | bytes]] = (),
    body: bytes = b"",
    host: str | None = "localhost",
) -> bytes:
    """One HTTP/1.1 request, with its headers as given; content-length is added where there is a body."""
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1")]
    fields: list[tuple[str, str | bytes]] = [("host", host)] if host is not None else []
    fields += [*headers, *([("content-length", str(len(body)))] if body else [])]
    for name, value in fields:
        lines.append(name.encode("latin-1") + b": " + (value if isinstance(value, bytes) else value.encode("latin-1")))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def http2(
    port: int,
    headers: Iterable[tuple[str, str]],
    body: bytes | None = None,
    trailers: Iterable[tuple[str, str]] | None = None,
) -> Answer:
    """One request over HTTP/2 without TLS, frame by frame; nothing is normalised or checked on the way out."""
    config = h2.config.H2Configuration(
        client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="latin-1"
    )
    stream = h2.connection.H2Connection(config)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        stream.initiate_connection()
        last = trailers is None
        stream.send_headers(1, list(headers), end_stream=body is None and last)
        if body is not None:
            stream.send_data(1, body, end_stream=last)
        if trailers is not None:
            stream.send_headers(1, list(trailers), end_stream=True)
        connection.sendall(stream.data_to_send())
        return _read_http2(stream, connection)


def _read_http2(stream: h2.connection.H2Connection, connection: socket.socket) -> Answer:
    headers: tuple[tuple[str, str], ...] = ()
    body = b""
    while data := connection.recv(65536):
        for event in stream.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                headers = tuple((str(name), str(value)) for name, value in event.headers)
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
                stream.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                reset = isinstance(event, h2.events.StreamReset)
                return Answer(int(dict(headers).get(":status", 0)), headers, body, aborted=reset)
        connection.sendall(stream.data_to_send())
    return Answer(int(dict(headers).get(":status", 0)), headers, body, aborted=True)
