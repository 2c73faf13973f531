"""Faults that a proxy makes, whatever stands behind it; and a dependency that is killed while it has much to do."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from tests.e2e.clients import Answer
from tests.e2e.processes import wait_until
from tests.faults.matrix import Result
from tests.faults.observer import ROOM, Limit, Observer, told
from tests.faults.proxy import Mode, Proxy

SLOW, LATE = 1.2, 0.02
"""Seconds: longer than every timeout of these tests, and shorter."""
WORKERS: Final = 8
ENOUGH: Final = 40
"""Requests before the end of a load, and after it."""


@dataclass(frozen=True)
class ByProxy:
    """A fault of the network. `silent`: nobody says anything, so that only a timeout ends the wait."""

    text: str
    mode: Mode
    delay: float = 0.0
    silent: bool = False

    def on(self, proxy: Proxy) -> AbstractContextManager[None]:
        return proxy.failing(self.mode, self.delay)


NETWORK: Final[Mapping[str, ByProxy]] = {
    "refused": ByProxy("connections are refused", Mode.REFUSE),
    "cut": ByProxy("connections break when something is asked", Mode.CUT),
    "black-hole": ByProxy("connections are accepted, and nothing is answered", Mode.BLACK_HOLE, silent=True),
    "slow": ByProxy("answers come too late", Mode.SLOW, SLOW, silent=True),
}
IN_TIME: Final = ByProxy("answers are slow, but come in time", Mode.SLOW, LATE)
KILLED: Final = "killed while there is load, and started again"


@dataclass(frozen=True)
class Load:
    """What came of many requests at once."""

    answers: list[tuple[Answer, float]]
    counted: Counter[tuple[str, str, str]]
    arrived: list[Any]

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer, _ in self.answers)

    @property
    def longest(self) -> float:
        return max(waited for _, waited in self.answers)

    def count(self, kind: str) -> int:
        return sum(number for (name, _, _), number in self.counted.items() if name == kind)


def under_load(
    observer: Observer, run: str, kill: Callable[[], object], proxy: Proxy, *headers: tuple[str, str], **options: Any
) -> Load:
    """`kill` what stands behind `proxy`, which refuses connections from then on, while eight clients ask as fast as they can;
    they go on for a while after it.
    """
    path, stop = f"/load/{observer.gate.port}/{run}", threading.Event()
    answers: list[tuple[Answer, float]] = []
    before = observer.counts()

    def client(_: int) -> None:
        while not stop.is_set():
            began = monotonic()
            answer = observer.gate.get(path, token=observer.token, headers=[("x-run", run), *headers], **options)
            answers.append((answer, monotonic() - began))

    with ThreadPoolExecutor(WORKERS) as pool:
        clients = [pool.submit(client, number) for number in range(WORKERS)]
        try:
            wait_until(lambda: len(answers) >= ENOUGH)
            kill()
            proxy.become(Mode.REFUSE)
            killed = len(answers)
            wait_until(lambda: len(answers) >= killed + ENOUGH)
        finally:
            stop.set()
        for each in clients:
            each.result()
    ended = before["requests", "", ""] + len(answers)
    wait_until(lambda: observer.counts()["requests", "", ""] == ended)
    return Load(answers, observer.counts() - before, observer.stub.received(path))


def judge_load(load: Load, limit: Limit, upstream: str, skipped: str | None = None) -> Result:
    """Each request was judged and passed, or it did not pass. Where failures are passed over, that is `skipped`, in the words
    for what arrives then. Raises: AssertionError, where that is not so.
    """
    arrived = Counter(told([request], b"") for request in load.arrived)
    failed = len(load.answers) - load.statuses[200]
    assert load.longest <= 2 * limit.seconds + ROOM
    assert load.statuses.keys() <= {200, 503, 504}
    assert load.statuses[200] == len(load.arrived)
    assert load.count("failures") == failed
    assert load.count("denials") == 0
    if skipped is None:
        assert failed > 0
        assert set(arrived) == {upstream}
        assert load.count("fail_open") == 0
        counted = "failure: unavailable, or timeout, for each that did not pass"
        return Result(
            "200 before; then 503 `policy_unavailable` or 504 `policy_timeout`", counted, limit.name, upstream
        )
    assert failed == 0
    assert load.count("fail_open") > 0
    if skipped != upstream:
        assert arrived == {upstream: load.statuses[200] - load.count("fail_open"), skipped: load.count("fail_open")}
    words = upstream if skipped == upstream else f"{upstream}; then {skipped.removeprefix('the request, ')}"
    return Result("200", "skip: unavailable, or timeout, for each that was not judged", limit.name, words)
