"""What the server's admin port could say, the sentence that follows, and who can reach the server's sockets."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from extproc.compose import configure
from extproc.doctor.clock import of_clocks
from extproc.doctor.finding import Code
from extproc.doctor.needs import Needs, needs_of
from extproc.doctor.server import of_metrics, of_readiness, of_status
from extproc.doctor.sockets import of_sockets
from extproc.policy.describe import status
from tests.cli.conftest import QUICKSTART
from tests.e2e.processes import short_directory

STATUS: Any = json.loads(
    json.dumps({"ready": True, "dependencies": {}, **status(configure(QUICKSTART / "extproc.yaml"))})
)


def test_what_the_server_needs_is_read_from_its_status() -> None:
    needs = needs_of(STATUS)
    assert needs is not None
    assert needs.request_body
    assert (needs.max_body_bytes, needs.budget) == (1048576, 0.8)
    assert needs.listen == ("unix:///tmp/extproc-quickstart/extproc.sock",)
    assert needs.hosts == ("localhost",)
    assert needs.injects


def test_needs_of_several_workers_are_those_of_the_first_that_answers() -> None:
    assert needs_of({"workers": {"0": None, "1": STATUS}}) == needs_of(STATUS)
    assert needs_of({"workers": {"0": None}}) is None
    assert needs_of({}) is None


def test_a_backend_that_an_httproute_names_may_be_reached_under_other_names() -> None:
    chains = [
        {"route": None, "backend": "egress/a", "host": "a.example"},
        {"route": None, "backend": "egress/b", "host": "b.example"},
        {"route": "egress/models", "backend": "egress/b", "host": "b.example"},
        {"route": "egress/models", "backend": None, "host": None},
    ]
    assert needs_of({"needs": {"budget": 1}, "chains": chains}) == Needs(False, False, 0, 1, (), hosts=("a.example",))


def dependency(problem: str | None, *, required: bool = True) -> dict[str, Any]:
    return {"required": required, "reachable": problem is None, "problem": problem}


def test_dependencies_are_told_once_whoever_asks() -> None:
    down = {**STATUS, "dependencies": {"redis": dependency("it refuses"), "vault": dependency(None)}}
    told = {"workers": {"0": down, "1": down, "2": None}}
    found = list(of_status(told))
    assert [one.code for one in found] == [Code.SERVER_WORKER, Code.SERVER_DEPENDENCY]
    assert str(found[0]).startswith("worker 2: it does not answer")
    told_by = "dependency redis: it refuses (so says worker 0, worker 1, and exchanges that need it are denied)"
    assert str(found[1]).startswith(told_by)
    assert list(of_readiness(["worker 0: redis: it refuses", "worker 1: redis: it refuses"], told)) == []
    [draining] = of_readiness(["worker 1: not yet, or no longer"], told)
    assert draining.code is Code.SERVER_NOT_READY
    assert "not ready: worker 1: not yet, or no longer" in draining.problem


def test_one_that_nothing_needs_is_told_without_that() -> None:
    [found] = of_status({**STATUS, "dependencies": {"redis": dependency("it refuses", required=False)}})
    assert "denied" not in str(found)


def test_what_is_degraded_is_told() -> None:
    finding = {"condition": "Degraded", "reason": "X", "message": "type unknown", "place": "a.yaml:3"}
    ignored = {**finding, "condition": "NotServedHere"}
    [found] = of_status({**STATUS, "findings": [finding, ignored]})
    assert (found.code, found.where, found.problem) == (Code.SERVER_DEGRADED, "a.yaml:3", "Degraded, type unknown")


# reloads


def reloaded(name: str, *problem: str) -> dict[str, Any]:
    return {**STATUS, "configuration": {"generation": 2, "hash": name, "problem": list(problem)}}


def test_a_configuration_that_was_refused_is_told_once_with_its_reason() -> None:
    refused = reloaded("abc", "a.yaml:7: unknown field")
    assert list(of_status(reloaded("abc"))) == []
    [alone] = of_status(refused)
    assert alone.code is Code.SERVER_REFUSED
    assert "refused when it was reloaded: a.yaml:7: unknown field; correct it" in str(alone)
    [both] = of_status({"configuration": {"hash": "abc"}, "workers": {"0": refused, "1": refused}})
    assert both.where == "the configuration of worker 0, worker 1"


def test_workers_that_do_not_serve_the_same_configuration_are_told() -> None:
    [found] = of_status(
        {"configuration": {"agree": False}, "workers": {"0": reloaded("abc"), "1": reloaded("def"), "2": STATUS}}
    )
    assert found.code is Code.SERVER_GENERATIONS
    assert "(worker 0: abc, worker 1: def)" in found.problem
    assert list(of_status({"workers": {"0": reloaded("abc"), "1": reloaded("abc")}})) == []


@pytest.mark.parametrize("told", ["text", [], {"problem": {"a": 1}}, {"problem": [1, None]}, {"hash": None}])
def test_one_that_says_nothing_of_its_configuration_is_as_before(told: object) -> None:
    assert list(of_status({**STATUS, "configuration": told})) == []


# metrics


@pytest.mark.parametrize(
    ("line", "code", "count"),
    [
        ('extproc_denials_total{backend="b",code="key_unresolved",gateway="g"} 2.0', Code.SERVER_KEY, 2),
        (
            'extproc_denials_total{code="key_unresolved"} 1.0\nextproc_denials_total{worker="1",code="key_unresolved"} 2.0',
            Code.SERVER_KEY,
            3,
        ),
        ('extproc_denials_total{code="backend_mismatch"} 1e+06', Code.SERVER_MISMATCH, 1000000),
        ('extproc_fail_open_total{cause="timeout",extension="pii",backend=""} 4.0', None, 0),
        ('extproc_denials_total{code="rate_limited"} 7.0', None, 0),
        ('extproc_denials_total{code="key_unresolved"} 0.0', None, 0),
        ('extproc_denials_created{code="key_unresolved"} 1.7e9', None, 0),
        ('extproc_denials_total{code="key_unresolved"} NaN', None, 0),
        ('extproc_denials_total{namespace="code=\\"key_unresolved\\""} 1.0', None, 0),
        ('extproc_denials_total{code="key_unresolved"' * 100_000, None, 0),
    ],
)
def test_what_was_counted_and_should_not_have_been(line: str, code: Code | None, count: int) -> None:
    found = [(one.code, one.problem.partition(" ")[0]) for one in of_metrics(f"# TYPE x counter\n{line}\n")]
    assert found == ([(code, str(count))] if code else [])


# clocks


@pytest.mark.parametrize(
    ("server", "envoy", "problem"),
    [
        (0.0, 0.4, ""),
        (None, None, ""),
        (None, 4.9, ""),
        (0.0, 60.0, "Envoy's clock is 60 s ahead of the server's"),
        (0.0, -60.0, "Envoy's clock is 60 s behind the server's"),
        (-30.0, -30.0, "the gateway's clock is 30 s behind this machine's"),
        (None, 30.0, "the gateway's clock is 30 s ahead of this machine's"),
    ],
)
def test_clocks(server: float | None, envoy: float | None, problem: str) -> None:
    found = list(of_clocks(server, envoy))
    assert [(one.code, one.problem) for one in found] == ([(Code.SERVER_CLOCK, problem)] if problem else [])


# sockets


def test_a_socket_or_a_directory_that_others_can_write_to() -> None:
    with short_directory() as directory, socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        listen = (f"unix://{directory}/extproc.sock",)
        assert list(of_sockets(listen)) == [], "it is on another machine"
        one.bind(f"{directory}/extproc.sock")
        two.bind(f"{directory}/extproc-1.sock")
        for number in ("", "-1"):
            Path(f"{directory}/extproc{number}.sock").chmod(0o660)
        assert list(of_sockets((*listen, "127.0.0.1:9443", "nonsense", "unix:///nowhere/x.sock"))) == []
        Path(f"{directory}/extproc-1.sock").chmod(0o666)
        [open_socket] = of_sockets(listen)
        assert open_socket.code is Code.SERVER_SOCKET
        assert f"socket {directory}/extproc-1.sock: its mode is 666: every user" in str(open_socket)
        Path(f"{directory}/extproc-1.sock").chmod(0o660)
        directory.chmod(0o770)
        [open_directory] = of_sockets(listen)
        assert f"directory {directory}: its mode is 770: others can put a socket of theirs" in str(open_directory)
        directory.chmod(0o700)
