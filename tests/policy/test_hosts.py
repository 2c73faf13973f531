"""Hosts: what a Backend's may be, and which are inside."""

import pytest

from extproc.core.message import normal_host
from extproc.policy.hosts import is_internal, normal_hostname, route_hostname


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("api.openai.com", "api.openai.com"),
        ("API.OpenAI.com.", "api.openai.com"),
        ("_srv.example.com", "_srv.example.com"),
        ("3com.com", "3com.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
        ("[FE80::0001]", "[fe80::1]"),
    ],
)
def test_a_hostname_in_its_normal_form_is_what_requests_have(written: str, normal: str) -> None:
    assert normal_hostname(written) == normal
    assert normal_host(f"{normal}:443") == normal


@pytest.mark.parametrize(
    "host",
    [
        "8.8.8.8",
        "127.0.0.1.",
        "[::1]",
        "::ffff:127.0.0.1",
        "2001:4860:4860::8888",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "vault",
        "vault.vault.svc",
        "vault.vault.SVC.",
        "kubernetes.default.svc.cluster.local",
        "pod.cluster.local",
    ],
)
def test_what_is_inside(host: str) -> None:
    assert is_internal(normal_hostname(host))


@pytest.mark.parametrize(
    "host", ["api.openai.com", "svc.example.com", "cluster.local.example", "localhost.example", "a.svc.io"]
)
def test_what_is_outside(host: str) -> None:
    assert not is_internal(normal_hostname(host))


@pytest.mark.parametrize(
    "host",
    [
        "127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "127.0.0.0x1", "1.2.3.4.5", "127.0.0.1..",
        "fe80::1%eth0", "1:2", ":::", "*.openai.com", "*", "", ".", "a..b", "-a.com", "a-.com", "https://a.com",
        "a.com:443", "a.com/b", "a b.com", "a,b.com", "user@a.com", "１２７.0.0.1", "openai。com", "a" * 64 + ".com",
        "a." * 127 + "com", "[127.0.0.1", "%31.com", "a.com\n",
    ],
)  # fmt: skip
def test_what_is_no_hostname(host: str) -> None:
    with pytest.raises(ValueError, match="is"):
        normal_hostname(host)


def test_hostnames_of_routes() -> None:
    assert route_hostname("*.OpenAI.com.") == "*.openai.com"
    assert route_hostname("api.openai.com") == "api.openai.com"
    for wrong in ("*", "*.", "a.*.com", "**.com", "127.0.0.1", "*.1", "*a.com", ""):
        with pytest.raises(ValueError, match="is not a hostname"):
            route_hostname(wrong)
