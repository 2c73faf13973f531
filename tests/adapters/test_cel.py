"""CEL: what is refused at load, what fails closed at run time, and that no expression can hurt the process."""

import subprocess
import sys
import time
from contextlib import suppress

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.adapters.cel import Cel, CelExpression
from extproc.errors import ConfigError, ExpressionError

VARIABLES = {
    "request": {
        "method": "POST",
        "host": "api.openai.com",
        "path": "/v1/chat/completions",
        "query": "a=b",
        "scheme": "https",
        "headers": {"x-team": "red", "authorization": "Bearer s3cret"},
    },
    "peer": {
        "username": "system:serviceaccount:ai:default",
        "uid": "1",
        "groups": ["g1", "g2"],
        "namespace": "ai",
        "serviceAccount": "default",
        "pod": "",
    },
    "route": {},
    "backend": {"name": "openai", "namespace": "egress", "host": "api.openai.com", "port": 443},
}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("true", True),
        ("request.method == 'POST' && request.host.endsWith('.openai.com')", True),
        ('request.headers["x-team"]', "red"),
        ('"x-none" in request.headers && request.headers["x-none"] == "a"', False),
        ("has(request.headers.x)", False),
        ("has(route.name)", False),
        ("peer.groups.exists(g, g == 'g2')", True),
        ("peer.groups.filter(g, g != 'g1').all(g, g == 'g2')", True),
        ("peer.namespace + '/' + peer.serviceAccount", "ai/default"),
        ("backend.port == 443 ? 'tls' : 'plain'", "tls"),
        ("request.path.matches(r'^/v1/[a-z]+/')", True),
        ("request.path.matches('^/v1/(chat|completions)/')", True),
        ("request.method in ['GET', 'POST']", True),
        ("{'a': 1, 'b': 2,}['b'] - -1", 3),
        ("size(request.headers) == 2 // a comment\n && !false", True),
        ("string(int('4') + 1) + string(1.5)", "51.5"),
        ("0x10 > 1 && 1.5e3 > 2.0 && 2u == 2u", True),
        ("type(1) == int", ConfigError),
    ],
)
def test_what_an_expression_says(source: str, value: object) -> None:
    if value is ConfigError:
        with pytest.raises(ConfigError):
            Cel.compile(source)
    else:
        assert Cel.compile(source)(VARIABLES) == value


def test_the_variables_that_it_names() -> None:
    assert Cel.compile("request.method == 'GET' || peer.namespace == backend.name").names == {
        "request",
        "peer",
        "backend",
    }
    assert Cel.compile("'peer.namespace' == 'peer' // peer").names == frozenset()
    assert Cel.compile("request.headers.exists(h, h == 'peer')").names == {"request"}


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", "unexpected 'the end'"),
        ("true &&", "unexpected 'the end'"),
        ("1 2", "unexpected '2'"),
        ("(true", "where ')' was expected"),
        ("[1", "where ']' was expected"),
        ("in", "unexpected 'in'"),
        ("#", "unexpected '#'"),
        ("'a", 'unexpected "\'"'),
        ("'''a'''", "this is no CEL expression"),
        ("b'a'", "there is no variable 'b'"),
        ("9223372036854775808", "invalid int literal"),
        ("user.name", "there is no variable 'user': request, peer, route, backend exist"),
        ("request.foo", "'request' has no member 'foo': headers, host, method, path, query, scheme"),
        ("peer.service_account == 'a'", "'peer' has no member 'service_account'"),
        ("route.host", "'route' has no member 'host': name, namespace"),
        ("has(backend.cluster)", "'backend' has no member 'cluster'"),
        ("request['method']", "'request' is read by its members"),
        ("(peer).namespace", "'peer' is read by its members"),
        ("size(request)", "'request' is read by its members"),
        ("request.headers['X-Team']", "names of headers are lower case here: write 'x-team'"),
        ("now()", "there is no function 'now'"),
        ("timestamp('2020-01-01T00:00:00Z')", "there is no function 'timestamp'"),
        ("request.path.split('/')", "there is no method 'split'"),
        ("matches('a', 'b')", "there is no function 'matches'"),
        ("Foo{a: 1}", "there is no variable 'Foo'"),
        ("request.?method", "where a name was expected"),
        ("peer.groups.exists(g, peer.groups.all(h, h == g))", "the macro 'all' is inside a macro"),
        ("peer.groups.filter(g, [1].exists(x, x == 1)).size() == 1", "the macro 'exists' is inside a macro"),
        ("peer.groups.map(g, g + g).map(g, g + g)", "there is no method 'map': all, contains, endsWith, exists"),
        ("peer.groups.exists(peer, true)", "cannot be called 'peer'"),
        ("peer.groups.all(g)", "the macro 'all' has 1 arguments, and takes 2"),
        ("peer.groups.all(1, true)", "where a name was expected"),
        ("g == 'a' || peer.groups.all(g, true)", "there is no variable 'g'"),
        ("request.path.matches(request.query)", "must be a literal"),
        ("request.path.matches('a' + 'b')", "must be a literal"),
        ("request.path.matches('(')", "is no regular expression"),
        ("request.path.matches('(?<=a)b')", "is no regular expression"),
        ("request.path.matches('(a{50}){50}')", "are too large"),
        ("request.path.matches('" + "a" * 256 + "')", "are too large"),
        ("request.path.matches('(" + "." * 100 + "){100}')", "are too large"),
        ("request.path.matches('(.{ 50 , }){\\t100 }')", "are too large"),
        ("request.path.matches('a{9999999999}')", "are too large"),
        (r"request.path.matches('(?sx)a{#}\n99}')", "has the flag x"),
        ("peer.groups.exists(g, g.matches('[^a]{40}[^b]{40}'))", "are too large"),
        ("peer.groups.exists(g, g.matches('" + "." * 100 + "'))", "are too large"),
        (r"request.path.matches('\\w{100}')", "more than 10 classes"),
        (r"request.path.matches(r'(?i)a{50}')", "more than 10 classes"),
        (r"request.path.matches('a\x7b9999\x7d')", "has a coded character"),
        (r"peer.groups.exists(g, g.matches(r'\w'))", "more than 10 classes"),
        ("1" + "+1" * 100, "more than 200 nodes"),
        ("!" * 300 + "true", "more than 200 nodes"),
        ("peer.groups.exists(g, g in [" + "g," * 50 + "])", "each in a macro counts as 4"),
        ("[" + "1," * 300 + "1]", "more than 200 nodes"),
        ("'" + "a" * 5000 + "'", "more than 4096 bytes"),
    ],
)
def test_what_is_refused_at_load(source: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Cel.compile(source)
    assert sentence in caught.value.message


@pytest.mark.parametrize("nest", ["(", "[", "!(", "-(", "true ? (", "size([", "{'a': "])
def test_depth_is_refused_before_the_library_sees_it(nest: str) -> None:
    for times in (40, 500):
        with pytest.raises(ConfigError):
            Cel.compile(nest * times)


def test_two_hundred_nodes_are_served() -> None:
    assert Cel.compile("1" + " + 1" * 99)({}) == 100
    assert Cel.compile("peer.groups.exists(g, g in [" + "'g'," * 45 + "])")(VARIABLES) is False
    deepest = "(" * 30 + "1" + ")" * 30
    assert Cel.compile(deepest)({}) == 1


def test_the_deepest_expressions_do_not_end_the_process() -> None:
    """In a process of their own: an overflow of the stack would take the tests with it."""
    lines = [
        "from extproc.adapters.cel import Cel",
        "cases = ['(' * 31 + '1' + ')' * 31, '[' * 30 + ']' * 30, '1' + '+1' * 99, '!' * 198 + 'true', '-' * 198 + '1',",
        "  '{1:' * 30 + '1' + '}' * 30, 'true' + '?true:true' * 30, 'true' + '||true' * 99, '[1]' + '[0]' * 60]",
        "for case in cases:",
        "    try: Cel.compile(case)({})",
        "    except Exception as error: print(type(error).__name__)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"ConfigError", "ExpressionError"}


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ('request.headers["x-none"] == "a"', "a key or member that it reads is absent"),
        ("route.name == 'a'", "a key or member that it reads is absent"),
        ("peer.groups[7] == 'a'", "an index is out of bounds"),
        ("1 / (backend.port - 443) == 1", "it divides by zero"),
        ("9223372036854775807 + backend.port == 1", "a number overflows"),
        ("request.headers.authorization < 1", "the types of its operands do not fit"),
        ("int(request.headers.authorization) == 1", "it cannot be evaluated"),
    ],
)
def test_an_error_at_run_time_has_no_value_in_its_text(source: str, sentence: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Cel.compile(source)(VARIABLES)
    assert str(caught.value) == sentence
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_hidden_peer_is_an_error() -> None:
    hidden = {name: value for name, value in VARIABLES.items() if name != "peer"}
    with pytest.raises(ExpressionError, match="absent"):
        Cel.compile("peer.namespace == 'ai'")(hidden)


class PanicException(BaseException):
    """What a Rust panic looks like from here."""


PanicException.__module__ = "pyo3_runtime"


class Exploding(dict[str, object]):
    """A mapping that ends an evaluation as a panic or an interrupt would."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def __contains__(self, name: object) -> bool:
        raise self.error


def test_a_panic_is_an_expression_error_and_an_interrupt_is_not() -> None:
    expression = Cel.compile("request.method == 'GET'")
    with pytest.raises(ExpressionError, match="broke off"):
        expression({"request": Exploding(PanicException("s3cret"))})
    with pytest.raises(KeyboardInterrupt):
        expression({"request": Exploding(KeyboardInterrupt())})


def test_only_what_is_read_is_handed_over() -> None:
    expression = Cel.compile("request.method == 'POST'")
    assert expression.members == {"request": ("method",)}
    assert expression({"request": {"method": "POST", "headers": object()}}) is True


def test_the_largest_pattern_is_no_weight() -> None:
    """The library compiles it at each evaluation: the limits keep that to some milliseconds, and a macro of a hundred rounds
    to some of ten.
    """
    crowd = {**VARIABLES, "peer": {"groups": ["a" * 300] * 100}}
    for source in (
        r"request.path.matches(r'(\w\d\s\W\D\S\p{L}\w\w\w)+[a-z]+')",
        f"request.path.matches('({'.' * 90}){{100}}')",
        f"peer.groups.exists(g, g.matches('{'.' * 90}zz'))",
    ):
        largest = Cel.compile(source)
        largest(crowd)
        started = time.process_time()
        for _ in range(5):
            largest(crowd)
        assert (time.process_time() - started) / 5 < 0.5


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab1'\"().,[]{}?:!&|=<>+-*/% requestpnmhod", max_size=40))
def test_any_text_is_an_expression_or_refused(source: str) -> None:
    try:
        expression = Cel.compile(source)
    except ConfigError:
        return
    assert isinstance(expression, CelExpression)
    with suppress(ExpressionError):
        expression(VARIABLES)


PARTS = ["request.method", "peer.uid", "'a'", "1", "==", "&&", "+", "(", ")", "[", "]", "in", "!"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_the_names_are_those_that_the_library_finds(parts: list[str]) -> None:
    source = " ".join(parts)
    try:
        expression = Cel.compile(source)
    except ConfigError:
        return
    assert expression.names == set(cel.compile(source).variables())
