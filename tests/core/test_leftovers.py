"""What tries leave for each other: each has its own credential, and sees none of the passes before it."""

from dataclasses import replace
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.chain import Chain
from extproc.core.passport import Places
from extproc.core.secret import unseal
from extproc.core.verdict import Continue
from extproc.testing import go_on, headers, response
from extproc.testing.conversation import run
from tests.core.driving import Says, authn, link
from tests.core.tries import (
    AT,
    BACKEND,
    CONNECT,
    HEADER,
    OTHER,
    QUERY,
    REQUEST,
    RESPONSE,
    Gate,
    gate,
    in_query,
    injects,
)


def test_each_try_has_its_own_credential() -> None:
    """What the first try set is there at the second, in clear; and what an extension sees of it is nothing."""
    found = gate(link("inject", injects(b"fresh"), REQUEST), left=HEADER)
    seen = Says()
    found.chains[BACKEND] = Chain((authn(), link("see", seen, CONNECT), *found.chains[BACKEND].links))
    assert found.try_(headers(authorization="Bearer stale")) == [go_on(set={"authorization": "***"})]
    assert "authorization" not in seen.seen[0][1].request.headers


def test_a_query_parameter_is_not_doubled() -> None:
    found = gate(link("inject", in_query(b"fresh"), REQUEST), left=QUERY)
    for path in ("/v1?a=b", "/v1?a=b&key=stale", "/v1?key=stale&a=b", "/v1?a=b&KEY=stale", "/v1?a=b&k%65y=stale"):
        (answer_,) = found.try_(headers(path=path))
        assert answer_ == go_on(path="/v1?a=b&key=***"), path


def test_the_credential_of_another_backend_is_removed() -> None:
    """Even where the next one gets none: it carries the filter for just that."""
    found = Gate({BACKEND: Chain((authn(), link("inject", injects(), REQUEST))), OTHER: Chain((authn(),))})
    found.left = Places(frozenset({"authorization"}), frozenset({"key"}))
    assert found.try_(headers(authorization="Bearer sk", path="/?key=sk&a=b"), backend=OTHER) == [
        go_on(removed={"authorization"}, path="/?a=b")
    ]


def test_what_names_nothing_of_the_kind_stays_byte_for_byte() -> None:
    found = gate(left=QUERY)
    for path in ("/?a&&b", "/?", "/", "/?a=b;c=d", "/?turkey=1&keys=2"):
        (answer_,) = found.try_(headers(path=path))
        assert answer_ in (go_on(), go_on(path=path)), path


def test_what_the_downstream_pass_set_stays_and_is_shown_to_nobody() -> None:
    says = Says()
    held = Places(frozenset({"authorization"}), frozenset({"key"}))
    found = gate(link("see", says, REQUEST), left=held)
    event = headers(authorization="Bearer sk-canary", path="/v1?a=b&key=sk%2Bcanary")
    assert found.try_(event, token=found.token(held=held)) == [go_on()]
    ((_, exchange),) = says.seen
    assert exchange.request.headers.get("authorization") == "***"
    assert (exchange.request.path, len(exchange.request.hidden_query)) == ("/v1?a=b", 1)
    assert "canary" not in repr(exchange)


def test_an_echo_of_what_the_downstream_pass_set_is_masked_before_anybody_sees_it() -> None:
    """That pass masks it too, but it sees the answer later."""
    says = Says()
    held = Places(frozenset({"authorization"}), frozenset({"key"}))
    found = gate(link("see", says, RESPONSE))
    event = headers(authorization="Bearer sk-canary", path="/?key=in%2Bquery")
    echo = response(200, x_a="Bearer sk-canary", x_b="sk-canary", x_c="/?key=in%2Bquery")
    assert found.try_(event, echo, token=found.token(held=held))[1] == go_on(
        set={"x-a": "***", "x-b": "***", "x-c": "/?key=***"}
    )
    assert says.seen[0][1].response is not None
    assert says.seen[0][1].response.headers.get("x-b") == "***"


def test_where_several_backends_are_possible_nothing_of_before_stays() -> None:
    """What the downstream pass set may by now be another Backend's: nobody could tell."""
    held = Places(frozenset({"authorization"}), frozenset({"key"}))
    found = Gate({BACKEND: Chain((authn(),)), OTHER: Chain((authn(),))}, left=held)
    token = found.token(held=held)
    assert found.try_(headers(path="/?key=sk&a=b"), token=token, backend=OTHER) == [go_on(path="/?a=b")]
    assert found.try_(headers(authorization="Bearer sk"), token=token, backend=OTHER) == [
        go_on(removed={"authorization"})
    ]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "key", "KEY", "k%65y", "x"]), st.binary(max_size=8)), max_size=5),
    st.booleans(),
)
@settings(max_examples=150)
def test_a_hidden_parameter_comes_back_as_it_was_when_the_query_changes(
    pairs: list[tuple[str, bytes]], change: bool
) -> None:
    """Whatever else a query holds: nobody sees what is hidden, and it leaves with the same bytes."""
    says = Says(Continue(set_query={"new": "1"}) if change else Continue())
    found = gate(link("see", says, REQUEST))
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
    session = found.session()
    token = found.token(held=Places(query=frozenset({"key"})))
    event = replace(headers(path=f"/?{query}", attributes=AT), passport=token)
    (outcome,) = run(session.step(event))
    ((_, exchange),) = says.seen
    assert "key" not in exchange.request.path.casefold().replace("%65", "e")
    hidden = [unseal(secret) for _, secret in exchange.request.hidden_query]
    assert hidden == [value for name, value in pairs if name.casefold().replace("%65", "e") == "key"]
    assert (outcome.path is not None) is change
    if change:
        assert [secret for _, secret in outcome.hidden_query] == [s for _, s in exchange.request.hidden_query]
