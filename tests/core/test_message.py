"""What makes a request one that can be routed safely."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.headers import Headers
from extproc.core.message import Request, is_normal, normal_host, read_request, read_response
from extproc.core.secret import seal
from extproc.core.verdict import Respond


def fields(**pseudo: bytes) -> Headers:
    given = {"method": b"GET", "scheme": b"https", "authority": b"api.test", "path": b"/", **pseudo}
    return Headers([(f":{name}", value) for name, value in given.items()])


def request(path: str) -> Request:
    return Request("GET", "https", "h", "h", path, Headers())


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("API.Example.COM", "api.example.com"),
        ("api.example.com:8443", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com.:443", "api.example.com"),
        ("[::1]:80", "[::1]"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
    ],
)
def test_hosts_for_matching(authority: str, host: str) -> None:
    assert normal_host(authority) == host


@pytest.mark.parametrize(
    "authority",
    [
        "",
        ".",
        "a,b",
        "a b",
        "a..b",
        "a:b",
        "a:123456",
        "user@a",
        "a/b",
        "a\x00",
        "é.test",
        "a:",
        "-a.test",
        "a?b",
        "a#",
        "[::1",
    ],
)
def test_what_is_no_host(authority: str) -> None:
    assert normal_host(authority) is None
    refused = read_request(fields(authority=authority.encode("latin-1")))
    assert isinstance(refused, Respond)
    assert (refused.status, refused.code) == (400, "bad_request")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/chat/completions",
        "/a?b=//../",
        "/v1beta/models/gemini-1.5:generateContent",
        "/%20",
        "/%C3%A9",
        "/a.b/..c/.d",
        "/;x=1",
    ],
)
def test_paths_in_normal_form(path: str) -> None:
    assert is_normal(path)


@pytest.mark.parametrize(
    "path",
    [
        "", "v1", "//", "/a//b", "/a/../b", "/..", "/a/.", "/./a", "/%2e%2e/a", "/a%2Fb", "/a%5cb", "/a\\b", "/a#b", "/a b",
        "/%61dmin", "/%00", "/a%0ab", "/%", "/%zz", "/é", "http://evil/x", "*", "/a?b c", "/a?b#c", "/a/..;/b",
        "/a\n", "/%7E",
    ],
)  # fmt: skip
def test_paths_that_two_readers_could_read_differently(path: str) -> None:
    assert not is_normal(path)
    assert isinstance(read_request(fields(path=path.encode())), Respond)


@pytest.mark.parametrize("method", [b"TRACE", b"TRACK", b"CONNECT", b"trace", b"Connect"])
def test_methods_that_echo_or_tunnel(method: bytes) -> None:
    refused = read_request(fields(method=method))
    assert isinstance(refused, Respond)
    assert (refused.status, refused.code) == (403, "forbidden")


@pytest.mark.parametrize("method", [b"", b"GET /x HTTP/1.1", b"G\tT", b"G\xe9T", b"GET,POST"])
def test_a_method_that_is_no_token(method: bytes) -> None:
    refused = read_request(fields(method=method))
    assert isinstance(refused, Respond)
    assert (refused.status, refused.code) == (400, "bad_request")


def test_a_method_that_comes_twice_is_none() -> None:
    refused = read_request(Headers([(":method", b"TRACE"), *fields(method=b"GET")]))
    assert isinstance(refused, Respond)


@given(st.permutations([*fields(), ("a", b"1"), ("b", b"2")]))
def test_pseudo_fields_may_stand_anywhere(given: list[tuple[str, bytes]]) -> None:
    found = read_request(Headers(given))
    assert isinstance(found, Request)
    assert (found.method, found.host, found.path) == ("GET", "api.test", "/")
    assert sorted(found.headers) == [("a", b"1"), ("b", b"2")]


@pytest.mark.parametrize("late", [":path", ":authority", ":method"])
def test_a_pseudo_field_that_comes_again_behind_others_is_seen(late: str) -> None:
    refused = read_request(Headers([*fields(), ("a", b"1"), (late, b"/late")]))
    assert isinstance(refused, Respond)
    assert (refused.status, refused.code) == (400, "bad_request")


def test_a_long_host_is_refused_and_not_remembered() -> None:
    before = normal_host.cache_info().currsize
    refused = read_request(fields(authority=b"a" * 60_000 + b".test"))
    assert isinstance(refused, Respond)
    assert refused.code == "bad_request"
    assert normal_host.cache_info().currsize == before


def test_options_of_the_whole_server() -> None:
    assert isinstance(read_request(fields(method=b"OPTIONS", path=b"*")), Request)


def test_a_connect_without_path_is_refused_for_its_method() -> None:
    refused = read_request(Headers([(":method", b"CONNECT"), (":authority", b"a:1")]))
    assert isinstance(refused, Respond)
    assert refused.code == "forbidden"


@pytest.mark.parametrize(("status", "number"), [(b"200", 200), (b"", 0), (b"abc", 0), (b"\xb2", 0)])
def test_the_status_of_a_response(status: bytes, number: int) -> None:
    assert read_response(Headers([(":status", status)])).status == number


@pytest.mark.parametrize(
    "path",
    [
        "/?key=K",
        "/?a=1&key=K",
        "/?KEY=K",
        "/?%6bey=K",
        "/?a;key=K",
        "/?key",
        "/?key=K&key=L",
        "/?a=1;%4B%45%59=K&b=2",
        "/?+key=K&%09key+=K",
    ],
)
def test_a_removed_parameter_has_no_place_to_hide(path: str) -> None:
    left = request(path).with_query(["key"], {})
    assert "K" not in left.query.replace("KEY", "")
    assert "key" not in left.query.lower()


def test_other_parameters_stay_as_they_were_written() -> None:
    assert request("/p?a=%2F&b=x+y&key=K&a=2").with_query(["key"], {}).path == "/p?a=%2F&b=x+y&a=2"
    assert request("/p?key=K").with_query(["key"], {}).path == "/p"
    assert request("/p?a=1").with_query([], {"b": "x&y"}).path == "/p?a=1&b=x%26y"
    assert request("/p?a=1").with_query([], {}).path == "/p?a=1"


def test_a_hidden_parameter_is_not_in_the_path() -> None:
    secret = seal(b"sk-canary")
    changed = request("/p?key=caller&a=1").with_query([], {"key": secret})
    assert changed.path == "/p?a=1"
    assert changed.hidden_query == (("key", secret),)
    assert "sk-canary" not in repr(changed)
    assert changed.with_query(["KEY"], {}).hidden_query == ()


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
def test_removing_nothing_changes_nothing(query: str) -> None:
    assert request(f"/p?{query}").with_query([], {}).path == f"/p?{query}"
