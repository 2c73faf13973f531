"""An upstream that answers piece by piece, as a test tells it: nothing is sent before the test says so."""

import socket
import threading
from collections.abc import Iterable
from queue import Empty, Queue

PATIENCE = 15.0


class Pieces:
    """An HTTP/1.1 server with one answer at a time. `say` sends a piece as a chunk, `end` the last one, `cut` breaks off."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.fields: list[str] = []
        self.requests: Queue[bytes] = Queue()
        self._pieces: Queue[bytes | None] = Queue()
        self.gone = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def answer(self, *fields: str) -> None:
        """The headers of the next answers (`name: value`), in place of those before."""
        self.fields = [*fields, "transfer-encoding: chunked"]
        self.gone.clear()
        for queue in (self._pieces, self.requests):
            while not queue.empty():
                queue.get_nowait()

    def say(self, piece: bytes) -> None:
        self._pieces.put(b"%x\r\n%b\r\n" % (len(piece), piece))

    def end(self, trailers: Iterable[str] = ()) -> None:
        self._pieces.put(b"0\r\n" + b"".join(line.encode() + b"\r\n" for line in trailers) + b"\r\n")

    def cut(self) -> None:
        self._pieces.put(None)

    def stop(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(PATIENCE)
            while request := _request(connection):
                self.requests.put(request)
                head = "\r\n".join(["HTTP/1.1 200 OK", *self.fields, "", ""])
                connection.sendall(head.encode("latin-1"))
                if not self._send(connection):
                    return

    def _send(self, connection: socket.socket) -> bool:
        """Whether the answer was sent to its end."""
        while True:
            piece = self._next(connection)
            if piece is None:
                return False
            try:
                connection.sendall(piece)
            except OSError:
                self.gone.set()
                return False
            if piece.startswith(b"0\r\n"):
                return True

    def _next(self, connection: socket.socket) -> bytes | None:
        """The next piece, or None if there is none or the peer has gone."""
        connection.settimeout(0.05)
        try:
            while True:
                try:
                    return self._pieces.get(timeout=0.05)
                except Empty:
                    pass
                try:
                    if not connection.recv(1):
                        self.gone.set()
                        return None
                except TimeoutError:
                    continue
                except OSError:
                    self.gone.set()
                    return None
        finally:
            connection.settimeout(PATIENCE)


def _request(connection: socket.socket) -> bytes:
    """One request with its body, or nothing."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = _more(connection)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)
    chunked = any(line.startswith(b"transfer-encoding:") for line in lines)
    while len(body) < length or (chunked and not body.endswith(b"0\r\n\r\n")):
        more = _more(connection)
        if not more:
            return b""
        body += more
    return head + b"\r\n\r\n" + body


def _more(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""
