"""A configuration that changes while a real Envoy asks: nothing is lost, and each exchange keeps what it began with."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import httpx
import pytest

from tests.e2e.failing import Failing, failing
from tests.e2e.gateway import (
    AUTHN,
    INJECT,
    KEY,
    PII,
    TOKEN,
    TRANSPORT,
    Gateway,
    backend,
    gateway,
    policy,
    quota,
    tokens,
)
from tests.e2e.pieces import Pieces
from tests.e2e.processes import Stub, short_directory, wait_until
from tests.e2e.test_workers import children

pytestmark = pytest.mark.e2e

TYPE = "tests.example/Shouting:v1"
SHOUT = {"name": "shout", "type": TYPE, "phase": "response-body"}
EACH_TRY = {**INJECT, "phase": "backend-request"}
ROUTE: dict[str, Any] = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "all", "namespace": "egress"},
    "spec": {
        "parentRefs": [{"name": "egress"}],
        "hostnames": ["localhost"],
        "rules": [
            {
                "backendRefs": [{"group": "egress.extproc.dev", "kind": "Backend", "name": "stub"}],
                "retry": {"codes": [503], "attempts": 2, "backoff": "10ms"},
            }
        ],
    },
}


def configuration(gate: Gateway) -> dict[str, Any]:
    """What the server says of it; of several workers, each."""
    found: dict[str, Any] = httpx.get(f"http://{gate.admin_port}/status").json()
    return {**found["configuration"], "workers": [one["configuration"] for one in found.get("workers", {}).values()]}


def put(gate: Gateway, text: str) -> None:
    other = gate.config.with_suffix(".new")
    other.write_text(text)
    other.rename(gate.config)


def hang_up(gate: Gateway) -> None:
    os.kill(gate.server.popen.pid, signal.SIGHUP)


def reload(gate: Gateway, old: str, new: str) -> None:
    """Another configuration, in force."""
    text, before = gate.config.read_text(), configuration(gate)["hash"]
    assert old in text
    put(gate, text.replace(old, new))
    hang_up(gate)
    wait_until(lambda: configuration(gate)["hash"] not in (None, before))


class Load:
    """Clients that ask as fast as they are answered, each request with a body, until they are told to stop."""

    def __init__(self, gate: Gateway, clients: int = 4) -> None:
        self.gate, self.statuses, self._stop = gate, Counter[int](), threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with self.gate.client() as client:
            while not self._stop.is_set():
                answer = client.post("/x", json={"text": "write to jane.doe@corp.example"})
                self.statuses[answer.status_code] += 1


@pytest.mark.parametrize(
    ("transport", "workers", "reloads"),
    [
        (TRANSPORT, 1, 100),
        *([("http2", 2, 30), ("envoy", 1, 30), ("inprocess", 1, 30)] if TRANSPORT == "http2" else []),
    ],
)
def test_a_storm_of_reloads_loses_no_exchange(stub: Stub, transport: str, workers: int, reloads: int) -> None:
    """Every other one is bad. The workers agree in the end, and nothing of the former ones is left."""
    with gateway(policy(AUTHN, PII), backend(stub.port, INJECT), transport=transport, workers=workers) as gate:
        text = gate.config.read_text()
        with Load(gate) as load:
            for number in range(reloads):
                style = "mask" if number % 2 else "musk"
                put(gate, text.replace("redactionStyle: mask", f"redactionStyle: {style}\n      hashKey: null"))
                hang_up(gate)
                before = sum(load.statuses.values())
                wait_until(lambda at=before: sum(load.statuses.values()) > at + 4)  # type: ignore[misc]
            good = text.replace("redactionStyle: mask", "redactionStyle: delete")
            put(gate, good)
            hang_up(gate)
            wait_until(lambda: b"[EMAIL_ADDRESS]" not in stub.received("/x")[-1].body)  # the last good one is in force
            wait_until(lambda: not _problems(gate) and _settled(gate))
        assert set(load.statuses) == {200}
        assert load.statuses[200] > 4 * reloads
        sent = stub.received("/x")[-1].body
        assert b"jane.doe" not in sent
        assert b"[EMAIL_ADDRESS]" not in sent


def _each(gate: Gateway) -> list[dict[str, Any]]:
    told = configuration(gate)
    return told["workers"] or [told]


def _problems(gate: Gateway) -> list[str]:
    return [problem for one in _each(gate) for problem in one["problem"]]


def _settled(gate: Gateway) -> bool:
    """One configuration, in all workers, with nothing of those before it."""
    found = _each(gate)
    return len({one["hash"] for one in found}) == 1 and all(one["inUse"] == 1 for one in found)


@pytest.fixture
def upstream() -> Iterator[Failing]:
    with failing() as running:
        yield running


def test_a_stream_keeps_the_chain_that_it_began_with() -> None:
    upstream = Pieces()
    with gateway(policy(AUTHN), backend(upstream.port, SHOUT), filters={TYPE: "tests.e2e.shouting:Shouting"}) as gate:
        upstream.answer("content-type: text/event-stream")
        upstream.say(b"one\n")
        with gate.client() as client, client.stream("GET", "/a", headers={"x-reading": "stream"}) as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == b"ONE\n"
            reload(gate, "phase: response-body", "phase: response-body\n    when: 'false'")
            assert configuration(gate)["inUse"] == 2
            upstream.say(b"two\n")
            assert next(pieces) == b"TWO\n"
            upstream.end()
            assert list(pieces) == []
        wait_until(lambda: configuration(gate)["inUse"] == 1)
        upstream.answer("content-type: text/event-stream")
        upstream.say(b"three\n")
        upstream.end()
        assert gate.get("/b").body == b"three\n"
    upstream.stop()


def test_a_try_keeps_the_configuration_that_its_exchange_began_with(upstream: Failing) -> None:
    """Its header is another one after the reload, which happens between two tries."""
    documents = policy(AUTHN), backend(upstream.port, EACH_TRY), ROUTE
    with gateway(*documents, upstreamPass=True) as gate:
        change = "field: api_key\n", "field: api_key\n      header: x-other\n"
        assert change[0] in gate.config.read_text()
        upstream.statuses, upstream.between = [503], _once(lambda: reload(gate, *change))
        assert gate.get("/x").status == 200
        assert [one.values("authorization") for one in upstream.tries] == [[f"Bearer {KEY}"]] * 2
        assert [one.values("x-other") for one in upstream.tries] == [[], []]
        assert gate.get("/x").status == 200
        assert upstream.tries[-1].values("x-other") == [f"Bearer {KEY}"]
        assert upstream.tries[-1].values("authorization") == []


def _once(work: Callable[[], None]) -> Callable[[], None]:
    left = [work]
    return lambda: left.pop()() if left else None


def test_limits_go_on_counting_and_a_change_of_one_counts(stub: Stub) -> None:
    with gateway(policy(AUTHN, quota(3)), backend(stub.port, INJECT)) as gate:
        assert [gate.get().status for _ in range(3)] == [200, 200, 200]
        reload(gate, "requests: 3", "requests: 4")
        assert [gate.get().status for _ in range(2)] == [200, 429]
        reload(gate, "requests: 4", "requests: 2")
        assert gate.get().status == 429


@contextmanager
def mounted(gate: Gateway) -> Iterator[Callable[[str], None]]:
    """The configuration as Kubernetes mounts a ConfigMap; gives what swaps it."""
    number = 0

    def swap(text: str) -> None:
        nonlocal number
        number += 1
        (gate.directory / f"..{number}").mkdir()
        (gate.directory / f"..{number}" / gate.config.name).write_text(text)
        link = gate.directory / "..data_tmp"
        link.symlink_to(f"..{number}")
        link.rename(gate.directory / "..data")

    swap(gate.config.read_text())
    link = gate.directory / "link"
    link.symlink_to(f"..data/{gate.config.name}")
    link.rename(gate.config)
    yield swap


def test_the_swap_of_a_configmap_and_a_token_that_is_taken_away_are_seen(stub: Stub) -> None:
    with gateway(policy(AUTHN), backend(stub.port, INJECT)) as gate, mounted(gate) as swap:
        text = gate.config.read_text()
        assert gate.get().status == 200
        swap(text.replace("- ai-workloads", "- other-team"))
        wait_until(lambda: configuration(gate)["generation"] == 2)
        assert gate.get().status == 403
        swap(text.replace("- ai-workloads", "- [ai-workloads"))
        wait_until(lambda: bool(configuration(gate)["problem"]))
        assert gate.get().status == 403
        ready = httpx.get(f"http://{gate.admin_port}/readyz")
        assert (ready.status_code, ready.text[:3]) == (200, "ok\n")
        swap(text)
        wait_until(lambda: configuration(gate)["generation"] == 3)
        assert gate.get().status == 200
        (gate.directory / "tokens").write_text(tokens().replace(TOKEN, "another-one"))
        wait_until(lambda: gate.get().status == 401)


def test_a_file_that_is_lost_changes_nothing(stub: Stub) -> None:
    with gateway(policy(AUTHN), backend(stub.port, INJECT)) as gate, short_directory() as elsewhere:
        gate.config.rename(elsewhere / "config.yaml")
        hang_up(gate)
        wait_until(lambda: bool(configuration(gate)["problem"]))
        assert "there is no such file" in configuration(gate)["problem"][0]
        assert gate.get().status == 200
        os.mkfifo(gate.config)
        hang_up(gate)
        wait_until(lambda: "not a regular file" in configuration(gate)["problem"][0])
        gate.config.unlink()
        (elsewhere / "config.yaml").rename(gate.config)
        hang_up(gate)
        wait_until(lambda: configuration(gate)["problem"] == [])
        assert gate.get().status == 200


def test_a_worker_that_is_replaced_begins_with_what_is_in_force(stub: Stub) -> None:
    """Though what is on disk is refused by then. A worker that hangs up does not end: whoever signals all processes by their
    name means the parent.
    """
    with gateway(policy(AUTHN), backend(stub.port, INJECT), workers=2, transport="http2") as gate:
        workers = children(gate.server.popen.pid)
        for pid in workers:
            os.kill(pid, signal.SIGHUP)
        reload(gate, "- ai-workloads", "- ai-workloads\n        - other-team")
        assert children(gate.server.popen.pid) == workers
        force = configuration(gate)["hash"]
        put(gate, "bad: 1")
        hang_up(gate)
        wait_until(lambda: bool(_problems(gate)))
        (first, *_) = children(gate.server.popen.pid)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: first not in children(gate.server.popen.pid))
        wait_until(lambda: all(one.get("hash") == force for one in _told(gate)) and len(_told(gate)) == 2)
        wait_until(lambda: len(_problems(gate)) == 2)
        assert gate.server.popen.poll() is None
        wait_until(lambda: all(gate.get().status == 200 for _ in range(10)))


def _told(gate: Gateway) -> list[dict[str, Any]]:
    found = httpx.get(f"http://{gate.admin_port}/status").json()["workers"].values()
    return [one["configuration"] for one in found if one]
