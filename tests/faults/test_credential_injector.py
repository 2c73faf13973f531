"""CredentialInjector on a real OpenBao that fails."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import pytest
from aiohttp import web

from tests.e2e.gateway import AUTHN, KEY, TOKEN, backend, gateway, policy
from tests.e2e.processes import Stub, short_directory, wait_until
from tests.faults.answering import answering
from tests.faults.background import Background
from tests.faults.faults import IN_TIME, KILLED, NETWORK, judge_load, under_load
from tests.faults.matrix import Cell, Expected, Matrix, Table, closed, denied, opened
from tests.faults.observer import Limit, Observer
from tests.faults.proxy import Mode, Proxy
from tests.servers.bao import MISSING, Bao

pytestmark = pytest.mark.e2e

PATH: Final = "egress/ai-workloads/default"
PASSED: Final = "the request, with the key"
OWN_KEY: Final = ("x-api-key", "what the caller would rather use")
WITHOUT: Final = "the request, without a credential, but with the caller's own `x-api-key`"
CONNECTION: Final = Limit("at most the connection's `timeout`", 0.3)
TIMEOUT: Final = Limit("at most its `timeout`", 0.1)
VARIANTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "closed": "`failOpen: false`",
        "open": "`failOpen: true`",
        "hasty-closed": "`failOpen: false`, a `timeout` shorter than the connection's",
        "hasty-open": "`failOpen: true`, a `timeout` shorter than the connection's",
        "stale": "`failOpen: false`, a source with `staleFor`",
    }
)


@dataclass(frozen=True)
class Rig:
    server: Bao
    proxy: Proxy
    background: Background


@contextmanager
def sealed(rig: Rig) -> Iterator[None]:
    rig.server.seal()
    try:
        yield
    finally:
        rig.server.open()


@contextmanager
def forbidden(rig: Rig) -> Iterator[None]:
    rig.server.policy("gateway", "secret/data/nothing")
    try:
        yield
    finally:
        rig.server.policy("gateway", "secret/data/egress/*")


def says(status: int) -> Callable[[Rig], AbstractContextManager[None]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"errors": ["on demand"]}, status=status)

    @contextmanager
    def applied(rig: Rig) -> Iterator[None]:
        with answering(rig.background, answer) as port, rig.proxy.leading_to(port):
            yield

    return applied


@dataclass(frozen=True)
class Own:
    """`stands_in`: the last good value is served where the source has `staleFor`."""

    text: str
    by: str
    apply: Callable[[Rig], AbstractContextManager[None]]
    stands_in: bool = True


OWN: Final[Mapping[str, Own]] = MappingProxyType(
    {
        "sealed": Own("it is sealed", "OpenBao", sealed),
        "forbidden": Own("it denies the path to the gateway's role (403)", "OpenBao", forbidden, stands_in=False),
        "broken": Own("it answers 500", "HTTP server (as Vault)", says(500)),
        "busy": Own("it answers 429", "HTTP server (as Vault)", says(429)),
    }
)
CIRCUIT: Final = "nothing is answered, for the sixth time in a row and on"
RESTARTED: Final = "restarted between two requests"
REVOKED: Final = "the gateway's token was revoked"
ABSENT: Final = "nothing; there is no secret for this workload"


def cell(fault: str, variant: str, by: str = "OpenBao") -> Cell:
    return Cell(fault, by, "request-headers", VARIANTS[variant])


def cells() -> Iterator[Cell]:
    for fault in NETWORK.values():
        for variant in VARIANTS:
            if fault.silent or "hasty" not in variant:
                yield cell(fault.text, variant)
    for own in OWN.values():
        for variant in ("closed", "open", "stale"):
            yield cell(own.text, variant, own.by)
    for variant in ("closed", "open"):
        yield cell(KILLED, variant)
    yield cell(CIRCUIT, "closed")
    for text in (RESTARTED, REVOKED, IN_TIME.text):
        yield cell(text, "closed")
    for variant in ("closed", "open"):
        yield cell(ABSENT, variant)


CELLS: Final = list(cells())
TABLE: Final = Table(
    "CredentialInjector on Vault",
    "`failOpen: true` needs `allowUnsafeFailOpen: true`. What goes on then has no credential of the platform, and what the "
    "caller sent as its own is not removed; the workload's token is, since that is the engine's work. A value that was read is "
    "kept for as long as `cacheTTL` says (next to nothing in these tests) and, where Vault cannot be asked, for `staleFor` "
    "more; a path that Vault denies is not served from memory.",
    CELLS,
)


def inject(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "CredentialInjector:v1",
        "phase": "request-headers",
        "priority": 30,
        "timeout": "100ms" if "hasty" in name else "900ms",
        "failOpen": "open" in name,
        "when": f'request.headers["x-run"] == "{name}"',
        "config": {
            "source": "kept" if name == "stale" else "keys",
            "path": "{peer.namespace}/{peer.serviceAccount}" if "absent" not in name else "nobody",
            "field": "api_key",
            "allowPlaintext": True,
            "allowUnsafeFailOpen": "open" in name,
        },
    }


@pytest.fixture(scope="module")
def rig(background: Background, matrix: Matrix) -> Iterator[Rig]:
    if MISSING:
        matrix.skip(CELLS, MISSING)
        pytest.skip(MISSING)
    with short_directory() as folder:
        server = Bao(folder, "raft")
        try:
            server.put(PATH, api_key=KEY)
            server.policy("gateway", "secret/data/egress/*")
            server.call("POST", "sys/auth/approle", {"type": "approle"})
            server.call("POST", "auth/approle/role/gateway", {"token_policies": ["gateway"], "token_ttl": "1h"})
            proxy = Proxy(background, server.port)
            yield Rig(server, proxy, background)
            proxy.close()
        finally:
            server.stop()


@pytest.fixture(scope="module")
def observer(rig: Rig, stub: Stub) -> Iterator[Observer]:
    extensions = [inject(name) for name in (*VARIANTS, "absent-closed", "absent-open")]
    role, secret = (rig.server.call(*asked)["data"] for asked in (
        ("GET", "auth/approle/role/gateway/role-id"), ("POST", "auth/approle/role/gateway/secret-id"),
    ))  # fmt: skip
    files = {"role": role["role_id"], "secret": secret["secret_id"]}
    vault = {
        "address": f"http://127.0.0.1:{rig.proxy.port}",
        "timeout": "300ms",
        "auth": {"approle": {"roleIDPath": "role", "secretIDPath": "secret"}},
    }
    source = {"mount": "secret", "prefix": "egress", "version": 2, "cacheTTL": "1ms"}
    sources = {
        "keys": {"vault": {**source, "staleFor": "1ms"}, "backends": ["egress/stub"]},
        "kept": {"vault": {**source, "staleFor": "5m"}, "backends": ["egress/stub"]},
    }
    documents = policy(AUTHN), backend(stub.port, *extensions)
    settings: dict[str, Any] = {"connections": {"vault": vault}, "secretSources": sources, "budget": "2s"}
    with gateway(*documents, files=files, **settings) as gate:
        seen = Observer(gate, stub, TOKEN)
        yield seen
        seen.close()


@pytest.fixture(autouse=True)
def _well(observer: Observer) -> Iterator[None]:
    """Before each fault everything works, and after it again."""
    observer.well("closed")
    observer.well("stale")
    yield
    observer.well("closed")
    observer.well("stale")


def tried(
    observer: Observer, matrix: Matrix, where: Cell, variant: str, want: Expected, limit: Limit = CONNECTION
) -> None:
    seen = observer.ask(variant, headers=[OWN_KEY])
    matrix.add(TABLE.title, where, observer.judge(seen, want, [variant], limit), limit.ratio(seen.waited))


@pytest.mark.parametrize("fault", NETWORK.values(), ids=NETWORK)
def test_the_network(observer: Observer, rig: Rig, matrix: Matrix, fault: Any) -> None:
    with fault.on(rig.proxy):
        if fault.silent:
            for variant, want in (("hasty-closed", closed("timeout")), ("hasty-open", opened("timeout", WITHOUT))):
                tried(observer, matrix, cell(fault.text, variant), variant, want, TIMEOUT)
        tried(observer, matrix, cell(fault.text, "closed"), "closed", closed("unavailable"))
        tried(observer, matrix, cell(fault.text, "open"), "open", opened("unavailable", WITHOUT))
        tried(observer, matrix, cell(fault.text, "stale"), "stale", Expected(upstream=PASSED))


@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_its_own_states(observer: Observer, rig: Rig, matrix: Matrix, own: Own) -> None:
    stale = Expected(upstream=PASSED) if own.stands_in else closed("unavailable")
    wanted = {"closed": closed("unavailable"), "open": opened("unavailable", WITHOUT), "stale": stale}
    with own.apply(rig):
        for variant, want in wanted.items():
            if want is stale and not own.stands_in:  # a value that stood in for another fault does so for a second
                wait_until(lambda: observer.ask("stale").answer.status != 200)
            tried(observer, matrix, cell(own.text, variant, own.by), variant, want)


@pytest.mark.parametrize("variant", ["closed", "open"])
def test_killed_under_load(observer: Observer, rig: Rig, matrix: Matrix, variant: str) -> None:
    load = under_load(observer, variant, rig.server.stop, rig.proxy, OWN_KEY)
    rig.server.start()
    rig.server.open()
    rig.proxy.become(Mode.PASS)
    result = judge_load(load, CONNECTION, PASSED, WITHOUT if variant == "open" else None)
    matrix.add(TABLE.title, cell(KILLED, variant), result, CONNECTION.ratio(load.longest))


def test_an_open_circuit_keeps_nobody_waiting(observer: Observer, rig: Rig, matrix: Matrix) -> None:
    limit = Limit("next to nothing", CONNECTION.seconds)
    with rig.proxy.failing(Mode.BLACK_HOLE):
        for _ in range(5):
            observer.ask("closed")
        began = time.monotonic()
        for _ in range(20):
            tried(observer, matrix, cell(CIRCUIT, "closed"), "closed", closed("unavailable"), limit)
        assert time.monotonic() - began < 20 * CONNECTION.seconds / 2


def test_restarted(observer: Observer, rig: Rig, matrix: Matrix) -> None:
    rig.server.restart()
    tried(observer, matrix, cell(RESTARTED, "closed"), "closed", Expected(upstream=PASSED))


def test_revoked(observer: Observer, rig: Rig, matrix: Matrix) -> None:
    rig.server.call("PUT", "sys/leases/revoke-prefix/auth/approle")
    tried(observer, matrix, cell(REVOKED, "closed"), "closed", Expected(upstream=PASSED))


def test_slow_but_in_time(observer: Observer, rig: Rig, matrix: Matrix) -> None:
    with IN_TIME.on(rig.proxy):
        tried(observer, matrix, cell(IN_TIME.text, "closed"), "closed", Expected(upstream=PASSED))


@pytest.mark.parametrize("variant", ["closed", "open"])
def test_no_secret_is_no_failure(observer: Observer, matrix: Matrix, variant: str) -> None:
    seen = observer.ask(f"absent-{variant}")
    result = observer.judge(seen, denied(403, "no_credential"), (), CONNECTION)
    matrix.add(TABLE.title, cell(ABSENT, variant), result, CONNECTION.ratio(seen.waited))


def test_every_skip_is_marked(observer: Observer) -> None:
    observer.marked()
