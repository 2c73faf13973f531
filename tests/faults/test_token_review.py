"""TokenReview on a real API server that fails."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pytest
from aiohttp import web

from tests.certificates import server_context
from tests.e2e.gateway import AUTHN, INJECT, KEY, backend, gateway, policy
from tests.e2e.processes import Stub, short_directory, wait_until
from tests.faults.answering import answering
from tests.faults.background import Background
from tests.faults.faults import IN_TIME, KILLED, NETWORK, judge_load, under_load
from tests.faults.matrix import Cell, Expected, Matrix, Table, closed, denied, opened
from tests.faults.observer import Limit, Observer
from tests.faults.proxy import Mode, Proxy
from tests.servers.kubernetes import MISSING, NAMESPACE, ApiServer, _wait, write_kubeconfig

pytestmark = pytest.mark.e2e

FAKE: Final = "HTTP server (as kube-apiserver)"
PASSED: Final = "the request, with the key"
WITHOUT: Final = "the request, without a credential"
BARE: Final = "127.0.0.1"
"""The host of a Backend for which no extension needs the peer."""
TIMEOUT: Final = Limit("at most its `timeout`", 0.4)
VARIANTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "closed": "`failOpen: false`",
        "open": "`failOpen: true`, a CredentialInjector after it",
        "bare": "`failOpen: true`, nothing after it that needs the peer",
    }
)


class Api(ApiServer):
    """One that can be killed and started again: the store stays."""

    def kill(self) -> None:
        self._processes[-1].stop(signal.SIGKILL)

    @contextmanager
    def forbidding(self) -> Iterator[None]:
        """Nobody but an administrator may review tokens."""
        where = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/reviewers"
        self._admin.delete(where).raise_for_status()
        try:
            yield
        finally:
            self._delegate("reviewer")

    def again(self) -> None:
        _wait(self._run("api", self._processes[-1].argv), self._ready)


@dataclass(frozen=True)
class Rig:
    server: Api
    proxy: Proxy
    background: Background
    token: str
    folder: Path


def says(code: int, /, **answer: Any) -> Callable[[Rig], AbstractContextManager[None]]:
    async def respond(request: web.Request) -> web.StreamResponse:
        return web.json_response(answer, status=code)

    @contextmanager
    def applied(rig: Rig) -> Iterator[None]:
        tls = server_context(rig.server._serving)
        with answering(rig.background, respond, tls) as port, rig.proxy.leading_to(port):
            yield

    return applied


ELSEWHERE: Final = {
    "authenticated": True,
    "audiences": ["another-audience"],
    "user": {"username": f"system:serviceaccount:{NAMESPACE}:caller", "uid": "u"},
}
OWN: Final[Mapping[str, Callable[[Rig], AbstractContextManager[None]]]] = MappingProxyType(
    {
        "it answers 500": says(500, kind="Status", code=500),
        "it answers 429": says(429, kind="Status", code=429),
        "its answer is no review": says(201, kind="Status"),
    }
)
FORBIDDEN: Final = "it does not let the gateway review tokens (403)"
RESTARTED: Final = "restarted between two requests"
ANONYMOUS: Final = "connections are refused, and there is no token"
JUNK: Final = "nothing; the token is nobody's"
MISDIRECTED: Final = "nothing; the token is for another audience"


def cell(fault: str, variant: str, by: str = "kube-apiserver") -> Cell:
    return Cell(fault, by, "request-headers", VARIANTS[variant])


def cells() -> Iterator[Cell]:
    for fault in NETWORK.values():
        yield from (cell(fault.text, variant) for variant in VARIANTS)
    for text in OWN:
        yield from (cell(text, variant, FAKE) for variant in VARIANTS)
    yield from (cell(FORBIDDEN, variant) for variant in VARIANTS)
    for variant in ("closed", "bare"):
        yield cell(KILLED, variant)
    for text in (RESTARTED, IN_TIME.text):
        yield cell(text, "closed")
    for text, by in ((ANONYMOUS, "kube-apiserver"), (JUNK, "kube-apiserver"), (MISDIRECTED, FAKE)):
        yield from (cell(text, variant, by) for variant in ("closed", "bare"))


CELLS: Final = list(cells())
TABLE: Final = Table(
    "TokenReview on the Kubernetes API",
    "`failOpen: true` needs `allowUnsafeFailOpen: true`. There is no peer then, so an extension that needs one answers 401; "
    "where none does, anybody's request goes on, without the token.",
    CELLS,
)


def authn(*, fail_open: bool) -> dict[str, Any]:
    config = {
        "reviewer": {"kubernetes": {}},
        "audiences": ["egress"],
        "allow": {"namespaces": [NAMESPACE]},
        "cacheTTL": "1ms",
        "allowUnsafeFailOpen": fail_open,
    }
    return {**AUTHN, "failOpen": fail_open, "timeout": "400ms", "config": config}


@pytest.fixture(scope="module")
def rig(background: Background, matrix: Matrix) -> Iterator[Rig]:
    if MISSING:
        matrix.skip(CELLS, MISSING)
        pytest.skip(MISSING)
    with short_directory() as folder:
        (folder / "server").mkdir()
        server = Api(folder / "server")
        try:
            server.start()
            server.account("caller")
            proxy = Proxy(background, server.port)
            where = f"https://127.0.0.1:{proxy.port}"
            write_kubeconfig(folder, where, server.authority.file, {"token": server.token("reviewer")})
            yield Rig(server, proxy, background, server.token("caller", "egress"), folder)
            proxy.close()
        finally:
            server.stop()


@contextmanager
def observed(rig: Rig, stub: Stub, *, fail_open: bool) -> Iterator[Observer]:
    kubernetes = {"kubeconfig": str(rig.folder / "kubeconfig.yaml"), "context": "there", "timeout": "1s"}
    documents = (
        policy(authn(fail_open=fail_open)),
        backend(stub.port, INJECT),
        backend(stub.port, name="bare", hostname=BARE),
    )
    files = {f"secrets/{NAMESPACE}/caller/api_key": KEY}
    with gateway(*documents, files=files, connections={"kubernetes": kubernetes}, budget="1500ms") as gate:
        seen = Observer(gate, stub, rig.token)
        yield seen
        seen.close()


@pytest.fixture(scope="module")
def observers(rig: Rig, stub: Stub) -> Iterator[Mapping[str, Observer]]:
    """One gateway for each value of failOpen: a chain has one authenticator."""
    with observed(rig, stub, fail_open=False) as shut, observed(rig, stub, fail_open=True) as open_:
        yield {"closed": shut, "open": open_, "bare": open_}


@pytest.fixture(autouse=True)
def _well(observers: Mapping[str, Observer]) -> Iterator[None]:
    """Before each fault everything works, and after it again."""
    for observer in (observers["closed"], observers["open"]):
        observer.well()
    yield
    for observer in (observers["closed"], observers["open"]):
        observer.well()


def tried(
    observers: Mapping[str, Observer], matrix: Matrix, where: Cell, variant: str, want: Expected, **options: Any
) -> None:
    observer = observers[variant]
    seen = observer.ask(host=BARE if variant == "bare" else "localhost", **options)
    result = observer.judge(seen, want, ["authn"], TIMEOUT)
    matrix.add(TABLE.title, where, result, TIMEOUT.ratio(seen.waited))


def wanted(cause: str) -> Mapping[str, Expected]:
    return {"closed": closed(cause), "open": denied(401, "unauthenticated", cause), "bare": opened(cause, WITHOUT)}


@pytest.mark.parametrize("fault", NETWORK.values(), ids=NETWORK)
def test_the_network(observers: Mapping[str, Observer], rig: Rig, matrix: Matrix, fault: Any) -> None:
    with fault.on(rig.proxy):
        for variant, want in wanted("timeout" if fault.silent else "unavailable").items():
            tried(observers, matrix, cell(fault.text, variant), variant, want)


@pytest.mark.parametrize("text", OWN)
def test_its_own_states(observers: Mapping[str, Observer], rig: Rig, matrix: Matrix, text: str) -> None:
    with OWN[text](rig):
        for variant, want in wanted("unavailable").items():
            tried(observers, matrix, cell(text, variant, FAKE), variant, want)


def test_forbidden(observers: Mapping[str, Observer], rig: Rig, matrix: Matrix) -> None:
    with rig.server.forbidding():
        wait_until(lambda: observers["closed"].ask().answer.status != 200)  # its authorizer hears of it a little later
        for variant, want in wanted("unavailable").items():
            tried(observers, matrix, cell(FORBIDDEN, variant), variant, want)


@pytest.mark.parametrize("variant", ["closed", "bare"])
def test_killed_under_load(observers: Mapping[str, Observer], rig: Rig, matrix: Matrix, variant: str) -> None:
    host = BARE if variant == "bare" else "localhost"
    load = under_load(observers[variant], "", rig.server.kill, rig.proxy, host=host)
    rig.server.again()
    rig.proxy.become(Mode.PASS)
    upstream = WITHOUT if variant == "bare" else PASSED
    result = judge_load(load, TIMEOUT, upstream, WITHOUT if variant == "bare" else None)
    matrix.add(TABLE.title, cell(KILLED, variant), result, TIMEOUT.ratio(load.longest))


def test_restarted(observers: Mapping[str, Observer], rig: Rig, matrix: Matrix) -> None:
    rig.server.kill()
    rig.server.again()
    tried(observers, matrix, cell(RESTARTED, "closed"), "closed", Expected(upstream=PASSED))


def test_slow_but_in_time(observers: Mapping[str, Observer], rig: Rig, matrix: Matrix) -> None:
    with IN_TIME.on(rig.proxy):
        tried(observers, matrix, cell(IN_TIME.text, "closed"), "closed", Expected(upstream=PASSED))


@pytest.mark.parametrize("variant", ["closed", "bare"])
def test_who_has_no_good_token_is_denied(
    observers: Mapping[str, Observer], rig: Rig, matrix: Matrix, variant: str
) -> None:
    want = denied(401, "unauthenticated")
    with NETWORK["refused"].on(rig.proxy):
        tried(observers, matrix, cell(ANONYMOUS, variant), variant, want, token=None)
    observers[variant].well()
    tried(observers, matrix, cell(JUNK, variant), variant, want, token="junk-token")
    with says(201, kind="TokenReview", status=ELSEWHERE)(rig):
        tried(observers, matrix, cell(MISDIRECTED, variant, FAKE), variant, want, token="somebody-elses")


def test_every_skip_is_marked(observers: Mapping[str, Observer]) -> None:
    observers["closed"].marked()
    observers["open"].marked()
