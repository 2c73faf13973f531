"""Make docs/images/dashboard.png and docs/images/status.png: `python -m tools.dashboard.picture [SECONDS]`.

A real gateway of two workers under mixed load, with a Redis that is away for a while and a configuration that is refused for a
while; a real Prometheus; and the dashboard's own panels and queries, drawn by `draw`.
"""

import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.adapters.redis_server import redis_server
from tests.deploy.mixed import Mixed, mixed
from tests.e2e.gateway import AUTHN, INJECT, PII, backend, gateway, policy, quota
from tests.e2e.processes import Stub
from tests.telemetry.receiver import receiving
from tools.dashboard.draw import page, size
from tools.dashboard.make import TARGET
from tools.dashboard.prometheus import answers, chromium, prometheus

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
SECONDS: Final = 120
CALLERS: Final = 4


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    IMAGES.mkdir(exist_ok=True)
    with stub() as upstream:
        status(upstream)
        dashboard(upstream, seconds)


def status(upstream: Stub) -> None:
    """/status as a browser shows it."""
    limit = {**quota(1000), "config": {"requestsPerMinute": 1000}}
    documents = policy(AUTHN, limit), backend(upstream.port, PII, INJECT)
    with redis_server() as redis, gateway(*documents, connections={"redis": {"url": redis.url}}) as gate:
        gate.get()
        chromium(f"http://{gate.admin_port}/status", IMAGES / "status.png", 900, 1300)


def dashboard(upstream: Stub, seconds: int) -> None:
    """The dashboard after so many seconds of load."""
    shown = json.loads(TARGET.read_text())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-dashboard-")))
        exports = {**stack.enter_context(receiving()).environ, "OTEL_METRIC_EXPORT_INTERVAL": "5000"}
        running = stack.enter_context(mixed(upstream, exports))
        url = stack.enter_context(prometheus(running.gate.admin_port, folder))
        span = load(running, seconds)
        (folder / "page.html").write_text(page(shown, answers(url, shown, span), span))
        chromium(f"file://{folder}/page.html", IMAGES / "dashboard.png", *size(shown))


def load(running: Mixed, seconds: int) -> tuple[float, float]:
    """From when to when. Redis is away for an eighth of the time, and a configuration is refused for another."""
    began, over = time.time(), threading.Event()
    callers = [threading.Thread(target=call, args=(running, random.Random(seed), over)) for seed in range(CALLERS)]  # noqa: S311
    for caller in callers:
        caller.start()
    config = running.gate.config
    good = config.read_text()
    events: list[tuple[float, Callable[[], object]]] = [
        (0.35, running.redis.stop),
        (0.475, running.redis.start),
        (0.65, lambda: config.write_text(good + "---\nkind: Nothing\n")),
        (0.775, lambda: config.write_text(good)),
        (1.0, over.set),
    ]
    for part, event in events:
        time.sleep(max(0.0, began + part * seconds - time.time()))
        event()
    for caller in callers:
        caller.join()
    return began, time.time()


def call(running: Mixed, choice: random.Random, over: threading.Event) -> None:
    """One caller among several, in waves."""
    while not over.wait(choice.expovariate(12 + 8 * (int(time.time()) // 15 % 2))):
        running.any(choice)


@contextmanager
def stub() -> Iterator[Stub]:
    found = Stub()
    try:
        yield found
    finally:
        found.stop()


if __name__ == "__main__":
    main()
