"""An upstream that answers as it is told, try by try, and remembers each try to the byte."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Try:
    """One request as it arrived: its target, and its headers in lower case."""

    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass
class Failing:
    """Answers the next try with the first of `statuses`, and 200 when there are none left. `between` runs after each try;
    `reply` are headers of every answer, made from the try.
    """

    statuses: list[int] = field(default_factory=list)
    between: Callable[[], object] = lambda: None
    reply: Callable[[Try], dict[str, str]] = lambda _: {}
    tries: list[Try] = field(default_factory=list)
    port: int = 0

    def clear(self) -> None:
        self.statuses, self.tries = [], []
        self.between, self.reply = (lambda: None), (lambda _: {})


@contextmanager
def failing() -> Iterator[Failing]:
    """Run one."""
    upstream = Failing()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = [(name.lower(), value) for name, value in self.headers.items()]
            one = Try(self.path, headers, self._body())
            upstream.tries.append(one)
            status = upstream.statuses.pop(0) if upstream.statuses else 200
            upstream.between()
            self.send_response(status)
            for name, value in {**upstream.reply(one), "content-length": "2"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"ok")

        def _body(self) -> bytes:
            """What came with the request, chunked or not. Trailers would end the connection: Envoy sends none here."""
            if "chunked" not in self.headers.get("transfer-encoding", ""):
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        do_POST = do_GET  # noqa: N815 - the base class's name

        def log_message(self, *_: object) -> None:
            """Nothing: the tries are remembered."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # Envoy resets connections when a test is over
    upstream.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
