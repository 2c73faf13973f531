"""Which addresses the admin port takes, and which Host headers it believes."""

import pytest

from extproc.admin.address import is_near, names, parse
from extproc.errors import ConfigError

HERE = parse("127.0.0.1:9090")


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("127.0.0.1:9090", True),
        ("localhost:9090", True),
        ("[::1]:9090", True),
        ("127.1.2.3:0", True),
        ("0.0.0.0:9090", False),
        ("[::]:9090", False),
        ("10.0.0.7:9090", False),
        ("unix:///run/extproc/admin.sock", True),
    ],
)
def test_an_address_is_a_host_with_a_port_or_a_socket(text: str, local: bool) -> None:
    address = parse(text)
    assert (str(address), address.loopback) == (text, local)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9090",
        ":9090",
        "127.0.0.1",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:٩",
        "::1:9090",
        "unix:a",
        "unix:@a",
    ],
)
def test_anything_else_is_refused_with_the_field_and_what_would_be_right(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^admin: the admin address .*: write ") as caught:
        parse(text)
    assert caught.value.place.field == "admin"


@pytest.mark.parametrize("host", ["127.0.0.1:9090", "localhost", "LOCALHOST:19090", "[::1]:9090", "127.0.0.1"])
def test_a_host_header_that_names_this_machine_is_ours(host: str) -> None:
    assert names(host, HERE)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:9090", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1:9090", "@"],
)
def test_any_other_is_not(host: str) -> None:
    assert not names(host, HERE)


def test_a_socket_is_reached_by_no_browser() -> None:
    assert names("anything", parse("unix:///run/extproc/admin.sock"))


@pytest.mark.parametrize("peer", [("127.0.0.1", 5), ("127.9.9.9", 5), ("::1", 5, 0, 0), ("::ffff:127.0.0.1", 5, 0, 0)])
def test_near_is_this_machine(peer: object) -> None:
    assert is_near(peer)


@pytest.mark.parametrize(
    "peer",
    [("10.0.0.1", 5), ("::", 5, 0, 0), ("::ffff:10.0.0.1", 5, 0, 0), ("fe80::1%lo", 5, 0, 0), ("", 0), "", None, ()],
)
def test_far_is_everybody_else(peer: object) -> None:
    assert not is_near(peer)
