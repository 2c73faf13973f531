"""One request through a gateway, seen from all sides: the client, the clock, the metrics, the log, the destination."""

import json
import re
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from extproc.stub.received import Received
from tests.e2e.clients import Answer
from tests.e2e.gateway import KEY, Gateway
from tests.e2e.processes import Stub, wait_until
from tests.faults.filter import CANARY
from tests.faults.matrix import NOTHING, Expected, Result

RECOVERY: Final = 10.0
"""Seconds within which everything is well again."""
ROOM: Final = 0.5
"""Seconds that a busy machine may add to twice a limit."""
COUNTED: Final = {"failures": "failure", "fail_open": "skip", "denials": "denial"}
SAMPLE: Final = re.compile(r"^extproc_(requests|failures|fail_open|denials)_total\{(.*)\} (\S+)$", re.MULTILINE)
LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Limit:
    """What a wait is held against."""

    name: str
    seconds: float

    def ratio(self, waited: float) -> float:
        """The wait as a part of it; or of a tenth of a second, below which the request itself takes longer."""
        return waited / max(self.seconds, 0.1)


@dataclass(frozen=True)
class Seen:
    """What came of one request. `counted`: (kind, extension, cause or code) of each count that it added."""

    answer: Answer
    waited: float
    counted: Counter[tuple[str, str, str]]
    arrived: Sequence[Received]

    @property
    def code(self) -> str:
        return "" if self.answer.status == 200 else self.answer.code


class Observer:
    """Every request of a test goes through it, one after the other: what is counted is counted by differences."""

    def __init__(self, gate: Gateway, stub: Stub, token: str) -> None:
        self.gate, self.stub, self.token = gate, stub, token
        self._asked = 0
        self._metrics = httpx.Client(base_url=f"http://{gate.admin_port}", trust_env=False, timeout=20)

    def close(self) -> None:
        self._metrics.close()

    def ask(self, run: str = "", method: str = "GET", **options: Any) -> Seen:
        """One request, for which the extension named `run` runs."""
        self._asked += 1
        path = f"/cells/{self.gate.port}/{self._asked}"
        options.setdefault("token", self.token)
        headers = [("x-run", run), *options.pop("headers", ())]
        before = self.counts()
        began = time.monotonic()
        answer = self.gate.send(method, path, headers=headers, **options)
        waited = time.monotonic() - began
        wait_until(lambda: self.counts()["requests", "", ""] > before["requests", "", ""])
        after = self.counts()
        assert after.pop(("requests", "", "")) - before.pop(("requests", "", ""), 0) == 1
        return Seen(answer, waited, after - before, self.stub.received(path))

    def counts(self) -> Counter[tuple[str, str, str]]:
        found: Counter[tuple[str, str, str]] = Counter()
        for name, labels, number in SAMPLE.findall(self._metrics.get("/metrics").text):
            label = dict(LABEL.findall(labels))
            key = name, label.get("extension", ""), label.get("cause") or label.get("code") or ""
            found[key] += int(float(number))
        return found

    def well(self, run: str = "", **options: Any) -> None:
        """Until a request passes with everything done to it. Raises: AssertionError, where that takes too long."""
        began = time.monotonic()
        while (seen := self.ask(run, **options)).answer.status != 200 or seen.counted:
            assert time.monotonic() - began < RECOVERY, (seen.answer, seen.counted)
            time.sleep(0.02)

    def judge(
        self, seen: Seen, expected: Expected, extensions: Collection[str], limit: Limit, body: bytes = b""
    ) -> Result:
        """What was seen in words. Raises: AssertionError, where it is not what must be; `body` is what was sent."""
        counted = sorted(f"{COUNTED[kind]}: {word}" for kind, _, word in seen.counted.elements())
        upstream = told(seen.arrived, body)
        assert (seen.answer.status, seen.code) == (expected.status, expected.code)
        assert counted == sorted(expected.counted)
        assert {name for kind, name, _ in seen.counted if kind != "denials"} <= set(extensions)
        assert upstream == expected.upstream
        assert seen.waited <= 2 * limit.seconds + ROOM
        shown = seen.answer.body + repr(seen.answer.headers).encode()
        if seen.answer.status != 200:
            assert b"x_received" not in shown  # what the destination answered is kept back
        for secret in (CANARY, self.token, KEY):
            assert secret.encode() not in shown or (seen.answer.status == 200 and secret == KEY)
        assert self.token not in repr(seen.arrived)
        return Result(expected.client, ", ".join(counted) or "-", limit.name, upstream)

    def marked(self) -> None:
        """Every skip that was counted is in the server's log and in Envoy's access log, with its extension and cause."""
        counts = self.counts()
        skips = Counter({(name, cause): n for (kind, name, cause), n in counts.items() if kind == "fail_open"})
        assert skips == _logged(self.gate.server.output, "skips")
        access = self.gate.directory / "envoy.log"
        wait_until(lambda: _logged(access.read_text(), "skipped") == skips)
        for text in (self.gate.server.output, access.read_text()):
            assert not [secret for secret in (self.token, KEY) if secret in text]


def told(arrived: Sequence[Received], body: bytes) -> str:
    """What arrived at the destination, in words. Raises: AssertionError, for what must never arrive."""
    if not arrived:
        return NOTHING
    (request,) = arrived
    credentials = request.values("authorization")
    assert credentials in ([], [f"Bearer {KEY}"])
    words = "the request, with the key" if credentials else "the request, without a credential"
    if request.values("x-api-key"):
        words += ", but with the caller's own `x-api-key`"
    if body:
        words += ", the body unprocessed" if request.body == body else ", the body redacted"
    return words


def _logged(text: str, name: str) -> Counter[tuple[str, str]]:
    """The skips that are in a log, in the member `name` of its lines."""
    found: Counter[tuple[str, str]] = Counter()
    for line in text.splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        found.update((skip["extension"], skip["cause"]) for skip in entry.get(name) or ())
    return found
