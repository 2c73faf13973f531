"""Addresses and names."""

from pathlib import Path

import pytest

from extproc.errors import Place
from extproc.policy.names import parse_address
from extproc.policy.places import Origin, dotted, undotted


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("unix:///run/extproc/extproc.sock", True),
        ("127.0.0.1:9090", True),
        ("[::1]:9090", True),
        ("localhost:9090", True),
        ("0.0.0.0:9090", False),
        ("[::]:9090", False),
        ("example.com:443", False),
        ("A_b.Example:443", False),
        ("10.0.0.1:1", False),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, loopback: bool) -> None:
    address = parse_address(text)
    assert str(address) == text
    assert address.loopback is loopback


@pytest.mark.parametrize(
    "text",
    [
        "", ":1", "a", "a:", "a:x", "a:65536", "a:-1", "::1:80", "[a]:1", "[::1]", "unix:x", "unix://", "unix:///", "unix:///a/",
        "unix:///a/../b", "unix:@a", "unix-abstract:a", "unix:///" + "a" * 200, "unix:///a\0b", "a:１", "http://a:1",
        "a b:1", "-:1", "a..b:1", "a" * 64 + ":1", "a." * 127 + "a:1",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|socket"):
        parse_address(text)


def test_a_place_can_be_told_although_its_file_has_a_name_that_is_no_text() -> None:
    assert str(Place("/etc/\udcff.yaml", 3)).encode() == rb"/etc/\udcff.yaml:3"


def test_fields_are_written_as_people_write_them() -> None:
    steps = ("spec", "extensions", 0, "config", "a.b/C:v1", "x")
    assert dotted(steps) == 'spec.extensions[0].config["a.b/C:v1"].x'
    assert undotted(dotted(steps)) == steps
    assert undotted("limits.0.window") == ("limits", 0, "window")
    assert undotted("") == ()


def test_a_place_that_is_not_there_has_the_line_of_what_should_hold_it() -> None:
    origin = Origin("f", 2, Path(), {(): 1, ("a",): 3})
    assert (origin.place("a", "b").line, origin.place("x").line) == (3, 1)
    assert origin.known(("a", "b", 1)) == ("a",)
