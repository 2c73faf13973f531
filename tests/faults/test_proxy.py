"""The proxy does what it is told: else the cells behind it say nothing."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.faults.background import Background
from tests.faults.proxy import Mode, Proxy

ASKED, WAIT = b"what", 0.3


@pytest.fixture
def proxy(background: Background) -> Iterator[Proxy]:
    """Before a server that answers everything with itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        made = Proxy(background, server.getsockname()[1])
        yield made
        made.close()
        server.shutdown(socket.SHUT_RDWR)


def echo(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(100):
                connection.sendall(data)
        except OSError:
            return


def connected(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), 5)
    connection.settimeout(5)
    return connection


def asked(connection: socket.socket) -> bytes:
    connection.sendall(ASKED)
    return connection.recv(100)


def test_it_passes_refuses_and_passes_again(proxy: Proxy) -> None:
    with connected(proxy) as before:
        assert asked(before) == ASKED
        with proxy.failing(Mode.REFUSE):
            with pytest.raises(ConnectionRefusedError):
                connected(proxy)
            with pytest.raises(ConnectionResetError):
                before.recv(100)
    with connected(proxy) as after:
        assert asked(after) == ASKED


def test_what_fell_into_a_black_hole_stays_there(proxy: Proxy) -> None:
    with connected(proxy) as before:
        assert asked(before) == ASKED
        with proxy.failing(Mode.BLACK_HOLE), connected(proxy) as during:
            for connection in (before, during):
                connection.settimeout(WAIT)
                with pytest.raises(TimeoutError):
                    asked(connection)
        with pytest.raises(TimeoutError):
            asked(before)
    with connected(proxy) as after:
        assert asked(after) == ASKED


def test_a_cut_connection_is_reset_once_something_is_asked(proxy: Proxy) -> None:
    with proxy.failing(Mode.CUT), connected(proxy) as connection, pytest.raises(ConnectionResetError):
        asked(connection)


def test_slow_answers_come(proxy: Proxy) -> None:
    with proxy.failing(Mode.SLOW, 2 * WAIT), connected(proxy) as connection:
        connection.settimeout(WAIT)
        with pytest.raises(TimeoutError):
            asked(connection)
        connection.settimeout(5)
        assert connection.recv(100) == ASKED


def test_another_target(proxy: Proxy, background: Background) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, proxy.leading_to(other.getsockname()[1]):
        connection = connected(proxy)
        connection.sendall(ASKED)
        accepted, _ = other.accept()
        with connection, accepted:
            assert accepted.recv(100) == ASKED
