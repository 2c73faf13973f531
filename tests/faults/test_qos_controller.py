"""QoSController on a real Redis that fails."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import pytest

from tests.adapters.redis_server import BINARY, MISSING, RedisServer, redis_server
from tests.e2e.gateway import AUTHN, INJECT, TOKEN, backend, gateway, policy
from tests.e2e.processes import Stub
from tests.faults.background import Background
from tests.faults.faults import IN_TIME, KILLED, NETWORK, judge_load, under_load
from tests.faults.matrix import Cell, Expected, Matrix, Table, closed, denied, opened
from tests.faults.observer import Limit, Observer
from tests.faults.proxy import Mode, Proxy

pytestmark = pytest.mark.e2e

REASON: Final = "" if BINARY else MISSING
PASSED: Final = "the request, with the key"
CONNECTION: Final = Limit("at most the connection's `timeout`", 0.2)
TIMEOUT: Final = Limit("at most its `timeout`", 0.1)
VARIANTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "closed": "`failOpen: false`",
        "open": "`failOpen: true`",
        "hasty-closed": "`failOpen: false`, a `timeout` shorter than the connection's",
        "hasty-open": "`failOpen: true`, a `timeout` shorter than the connection's",
        "local": "`fallback: local`, a limit of 2",
    }
)


@dataclass(frozen=True)
class Rig:
    server: RedisServer
    proxy: Proxy


@contextmanager
def replica(server: RedisServer) -> Iterator[None]:
    assert server.command("REPLICAOF", "127.0.0.1", "1").startswith(b"+OK")
    try:
        yield
    finally:
        server.command("REPLICAOF", "NO", "ONE")


@contextmanager
def full(server: RedisServer) -> Iterator[None]:
    assert server.command("CONFIG", "SET", "maxmemory", "1").startswith(b"+OK")
    try:
        yield
    finally:
        server.command("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def loading(server: RedisServer) -> Iterator[None]:
    """Thousands of keys, a millisecond each: it takes longer than the cells, and is over at once when they are done."""
    server.command("DEBUG", "POPULATE", "3000")
    server.command("SAVE")
    server.stop()
    server.start()
    assert server.command("GET", "key:1").startswith(b"-LOADING")
    try:
        yield
        assert server.command("GET", "key:1").startswith(b"-LOADING")  # it was so all the time
    finally:
        server.stop()
        (server.directory / "dump.rdb").unlink()
        server.start()


OWN: Final[Mapping[str, Callable[[RedisServer], AbstractContextManager[None]]]] = MappingProxyType(
    {
        "it is loading its data (LOADING)": loading,
        "it is a replica (READONLY)": replica,
        "it is out of memory (OOM)": full,
    }
)
CIRCUIT: Final = "nothing is answered, for the sixth time in a row and on"
RESTARTED: Final = "restarted between two requests"
EXHAUSTED: Final = "nothing; the limit is reached"


def cell(fault: str, variant: str) -> Cell:
    return Cell(fault, "redis-server", "request-headers", VARIANTS[variant])


def cells() -> Iterator[Cell]:
    for fault in NETWORK.values():
        for variant in VARIANTS:
            if fault.silent or "hasty" not in variant:
                yield cell(fault.text, variant)
    for text in OWN:
        for variant in ("closed", "open", "local"):
            yield cell(text, variant)
    for variant in ("closed", "open"):
        yield cell(KILLED, variant)
    yield cell(CIRCUIT, "closed")
    for text in (RESTARTED, IN_TIME.text):
        yield cell(text, "closed")
    for variant in ("closed", "open"):
        yield cell(EXHAUSTED, variant)


CELLS: Final = list(cells())
TABLE: Final = Table(
    "QoSController on Redis",
    "With `fallback: local` the last of three requests is shown: the share of this replica, 2, is what passes. What Redis "
    "forgets in a restart is counted from zero again.",
    CELLS,
)


def quota(name: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "store": "redis",
        "limits": [{"name": "many", "requests": 1_000_000, "window": "1h", "algorithm": "fixed-window"}],
    }
    if name == "local":
        few = {"name": "few", "requests": 2, "window": "1h", "key": ['request.headers["x-key"]']}
        config = {"store": "redis", "fallback": "local", "limits": [few]}
    if "denied" in name:
        few = {"name": "few", "requests": 1, "window": "1h", "key": ['request.headers["x-key"]']}
        config = {"store": "redis", "limits": [few]}
    return {
        "name": name,
        "type": "QoSController:v1",
        "phase": "request-headers",
        "priority": 10,
        "timeout": "100ms" if "hasty" in name else "600ms",
        "failOpen": "open" in name,
        "when": f'request.headers["x-run"] == "{name}"',
        "config": config,
    }


@pytest.fixture(scope="module")
def rig(background: Background, matrix: Matrix) -> Iterator[Rig]:
    if REASON:
        matrix.skip(CELLS, REASON)
        pytest.skip(REASON)
    slowly = {"key_load_delay": "1000", "loading_process_events_interval_bytes": "1024"}
    with redis_server(enable_debug_command="yes", **slowly) as server:
        proxy = Proxy(background, server.port)
        yield Rig(server, proxy)
        proxy.close()


@pytest.fixture(scope="module")
def observer(rig: Rig, stub: Stub) -> Iterator[Observer]:
    extensions = [quota(name) for name in (*VARIANTS, "denied-closed", "denied-open")]
    documents = policy(AUTHN, *extensions), backend(stub.port, INJECT)
    redis = {"url": f"redis://127.0.0.1:{rig.proxy.port}/0", "timeout": "200ms"}
    with gateway(*documents, budget="1500ms", connections={"redis": redis}) as gate:
        seen = Observer(gate, stub, TOKEN)
        yield seen
        seen.close()


def tried(
    observer: Observer, matrix: Matrix, fault: str, variant: str, want: Expected, limit: Limit = CONNECTION
) -> None:
    seen = observer.ask(variant, headers=[("x-key", fault)])
    matrix.add(
        TABLE.title, cell(fault, variant), observer.judge(seen, want, [variant], limit), seen.waited / limit.seconds
    )


def tried_local(observer: Observer, matrix: Matrix, fault: str) -> None:
    for _ in range(2):
        assert not observer.ask("local", headers=[("x-key", fault)]).counted
    tried(observer, matrix, fault, "local", denied(429, "rate_limited"))


@pytest.mark.parametrize("fault", NETWORK.values(), ids=NETWORK)
def test_the_network(observer: Observer, rig: Rig, matrix: Matrix, fault: Any) -> None:
    observer.well("closed")
    with fault.on(rig.proxy):
        if fault.silent:
            tried(observer, matrix, fault.text, "hasty-closed", closed("timeout"), TIMEOUT)
            tried(observer, matrix, fault.text, "hasty-open", opened("timeout", PASSED), TIMEOUT)
        tried(observer, matrix, fault.text, "closed", closed("unavailable"))
        tried(observer, matrix, fault.text, "open", opened("unavailable", PASSED))
        tried_local(observer, matrix, fault.text)
    observer.well("closed")


@pytest.mark.parametrize("text", OWN)
def test_its_own_states(observer: Observer, rig: Rig, matrix: Matrix, text: str) -> None:
    observer.well("closed")
    with OWN[text](rig.server):
        tried(observer, matrix, text, "closed", closed("unavailable"))
        tried(observer, matrix, text, "open", opened("unavailable", PASSED))
        tried_local(observer, matrix, text)
    observer.well("closed")


@pytest.mark.parametrize("variant", ["closed", "open"])
def test_killed_under_load(observer: Observer, rig: Rig, matrix: Matrix, variant: str) -> None:
    observer.well(variant)
    load = under_load(observer, variant, rig.server.stop, rig.proxy)
    rig.server.start()
    rig.proxy.become(Mode.PASS)
    observer.well(variant)
    result = judge_load(load, CONNECTION, PASSED, PASSED if variant == "open" else None)
    matrix.add(TABLE.title, cell(KILLED, variant), result, CONNECTION.ratio(load.longest))


def test_an_open_circuit_keeps_nobody_waiting(observer: Observer, rig: Rig, matrix: Matrix) -> None:
    observer.well("closed")
    with rig.proxy.failing(Mode.BLACK_HOLE):
        for _ in range(5):
            observer.ask("closed")
        began = time.monotonic()
        for _ in range(20):
            tried(
                observer, matrix, CIRCUIT, "closed", closed("unavailable"), Limit("next to nothing", CONNECTION.seconds)
            )
        assert time.monotonic() - began < 20 * CONNECTION.seconds / 2
    observer.well("closed")


def test_restarted(observer: Observer, rig: Rig, matrix: Matrix) -> None:
    observer.well("closed")
    rig.server.stop()
    rig.server.start()
    tried(observer, matrix, RESTARTED, "closed", Expected(upstream=PASSED))


def test_slow_but_in_time(observer: Observer, rig: Rig, matrix: Matrix) -> None:
    observer.well("closed")
    with IN_TIME.on(rig.proxy):
        tried(observer, matrix, IN_TIME.text, "closed", Expected(upstream=PASSED))


@pytest.mark.parametrize("variant", ["closed", "open"])
def test_a_limit_that_is_reached_is_no_failure(observer: Observer, matrix: Matrix, variant: str) -> None:
    headers = [("x-key", f"limit-{variant}")]
    assert observer.ask(f"denied-{variant}", headers=headers).answer.status == 200
    seen = observer.ask(f"denied-{variant}", headers=headers)
    result = observer.judge(seen, denied(429, "rate_limited"), (), CONNECTION)
    matrix.add(TABLE.title, cell(EXHAUSTED, variant), result, CONNECTION.ratio(seen.waited))


def test_every_skip_is_marked(observer: Observer) -> None:
    observer.marked()
