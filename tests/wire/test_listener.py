"""Where may be listened. Whoever can connect is handed the keys, so each way around the rules is tried."""

import os
import socket
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from extproc.errors import ConfigError
from extproc.wire.listener import Listener, Tls, check, claim, for_worker
from tests.certificates import Authority

TLS = Tls(Path("/c"), Path("/k"), Path("/a"), ("gateway.example",))


def listener_at(path: Path) -> Listener:
    return Listener(f"unix://{path}")


@pytest.mark.parametrize(
    "listener",
    [
        Listener("unix:///run/extproc/extproc.sock"),
        Listener("127.0.0.1:9000", insecure=True),
        Listener("[::1]:9000", insecure=True),
        Listener("localhost:9000", insecure=True),
        Listener("0.0.0.0:9000", TLS),
        Listener("[::]:9000", TLS),
        Listener("extproc.egress.svc:9000", TLS),
    ],
    ids=lambda listener: listener.address,
)
def test_allowed(listener: Listener) -> None:
    check(listener)


@pytest.mark.parametrize(
    ("listener", "told"),
    [
        (Listener("unix:relative.sock"), "unix:///absolute/path"),
        (Listener("unix://run/x.sock"), "unix:///absolute/path"),
        (Listener("unix-abstract:x"), "abstract"),
        (Listener("unix:///x\0y"), "abstract"),
        (Listener("unix:///"), "unix:///absolute/path"),
        (Listener("unix:///run/x/"), "unix:///absolute/path"),
        (Listener("unix:///run/../x.sock"), r"`\.\.`"),
        (Listener("unix:///run//x.sock"), "empty part"),
        (Listener("unix:///" + "x" * 103), "at most 103 bytes"),
        (Listener("unix:///x.sock", TLS), "for TCP"),
        (Listener("unix:///x.sock", insecure=True), "for TCP"),
        (Listener("@abstract"), "write unix"),
        (Listener(""), "write unix"),
        (Listener(":9000", TLS), "write unix"),
        (Listener("9000", TLS), "write unix"),
        (Listener("*:9000", TLS), "write unix"),
        (Listener("::1:9000", TLS), "write unix"),
        (Listener("127.0.0.1:0", insecure=True), "port from 1"),
        (Listener("127.0.0.1:65536", insecure=True), "port from 1"),
        (Listener("127.0.0.1:90x", insecure=True), "write unix"),
        (Listener("127.0.0.1:9000"), "TCP needs `tls`"),
        (Listener("10.0.0.1:9000"), "TCP needs `tls`"),
        (Listener("0.0.0.0:9000", insecure=True), "loopback"),
        (Listener("[::]:9000", insecure=True), "loopback"),
        (Listener("10.0.0.1:9000", insecure=True), "loopback"),
        (Listener("127.0.0.1.evil.example:9000", insecure=True), "loopback"),
        (Listener("127.0.0.1:9000", TLS, insecure=True), "not both"),
        (Listener("0.0.0.0:9000", Tls(Path("c"), Path("k"), Path("a"), ())), "allowedClients"),
        (Listener("0.0.0.0:9000", Tls(Path("c"), Path("k"), Path("a"), ("x", ""))), "allowedClients"),
    ],
    ids=lambda value: repr(value.address)[:40] if isinstance(value, Listener) else "",
)
def test_refused(listener: Listener, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check(listener)


def test_a_worker_has_a_place_of_its_own() -> None:
    unix, tcp = Listener("unix:///run/x/extproc.sock"), Listener("[::1]:9000", insecure=True)
    assert for_worker(unix, 0, 1) == unix
    assert for_worker(unix, 1, 2).address == "unix:///run/x/extproc-1.sock"
    assert for_worker(Listener("unix:///run/x/socket"), 0, 2).address == "unix:///run/x/socket-0"
    assert for_worker(tcp, 0, 2) == tcp
    assert for_worker(tcp, 3, 4) == Listener("[::1]:9003", insecure=True)
    with pytest.raises(ConfigError, match="port"):
        for_worker(Listener("127.0.0.1:65535", insecure=True), 1, 2)


def test_a_missing_folder_is_made_for_us_alone(folder: Path) -> None:
    claim(listener_at(folder / "new" / "x.sock"))
    assert stat.S_IMODE((folder / "new").stat().st_mode) & 0o027 == 0


def test_a_missing_folder_of_a_missing_folder_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be used \(No such file or directory\): make it, with mode 0750"):
        claim(listener_at(folder / "a" / "b" / "x.sock"))


@pytest.mark.parametrize("mode", [0o770, 0o757, 0o777, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(ConfigError, match="writable by nobody else"):
        claim(listener_at(folder / "x.sock"))


def test_a_folder_of_somebody_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(ConfigError, match="owned by uid"):
        claim(listener_at(folder / "x.sock"))


def test_a_folder_that_is_a_link_or_a_file_is_refused(folder: Path) -> None:
    (folder / "real").mkdir(0o700)
    (folder / "link").symlink_to(folder / "real")
    (folder / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(ConfigError, match="this is none"):
            claim(listener_at(folder / name / "x.sock"))


def test_a_stale_socket_is_removed(folder: Path) -> None:
    path = folder / "x.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    claim(listener_at(path))
    assert not path.exists()


def test_a_socket_at_which_somebody_listens_is_left_alone(folder: Path) -> None:
    path = folder / "x.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(ConfigError, match="another process listens"):
            claim(listener_at(path))
        assert path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(folder: Path, kind: str) -> None:
    path = folder / "x.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="no socket of ours"):
        claim(listener_at(path))
    assert path.is_symlink() or path.exists()


def test_certificates_are_read_before_a_port_opens(folder: Path) -> None:
    authority, other = Authority(folder, "a"), Authority(folder, "b")
    cert, key = authority.issue_as("server", dns=["localhost"])
    _, wrong = other.issue_as("other", dns=["localhost"])
    (folder / "empty.pem").touch()
    claim(Listener("127.0.0.1:9000", Tls(cert, key, authority.file, ("x",))))
    for tls, told in [
        (Tls(folder / "no.pem", key, authority.file, ("x",)), "no such file"),
        (Tls(folder / ("x" * 300), key, authority.file, ("x",)), "no such file"),
        (Tls(cert, wrong, authority.file, ("x",)), "not a certificate and its key"),
        (Tls(cert, cert, authority.file, ("x",)), "not a certificate and its key"),
        (Tls(cert, key, folder / "empty.pem", ("x",)), "no CA certificate"),
    ]:
        with pytest.raises(ConfigError, match=told):
            claim(Listener("127.0.0.1:9000", tls))


def test_an_encrypted_key_is_refused_and_its_password_is_not_asked_for(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """At a terminal the server would wait for it, and with each renewal again."""
    authority = Authority(folder, "a")
    cert, key = authority.issue_as("server", dns=["localhost"])
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    key.write_bytes(plain.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    with pytest.raises(ConfigError, match="not encrypted"):
        claim(Listener("127.0.0.1:9000", Tls(cert, key, authority.file, ("x",))))
    assert capfd.readouterr() == ("", "")
