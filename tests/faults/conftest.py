"""What all cells share: the loop of the proxies, the collector, and the page that is made of it."""

from collections.abc import Iterator

import pytest

from tests.e2e.processes import Stub
from tests.faults.background import Background
from tests.faults.matrix import Matrix

FOUND = pytest.StashKey[Matrix]()


@pytest.fixture(scope="session")
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.stop()


@pytest.fixture(scope="session")
def background() -> Iterator[Background]:
    running = Background()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def matrix(request: pytest.FixtureRequest) -> Matrix:
    return request.config.stash.setdefault(FOUND, Matrix())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How long the longest wait was, as a part of its limit; and what did not run, and why."""
    found = config.stash.get(FOUND, Matrix())
    for title, ratio in found.ratios.items():
        terminalreporter.write_line(f"failure matrix: {title}: the longest wait was {ratio:.2f} of its limit")
    for reason in sorted(set(found.missing.values())):
        terminalreporter.write_line(f"failure matrix: cells were skipped: {reason}")
