"""What every test leaves as it was."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
"""Before grpc is loaded: its handlers abort a child that is forked while a test's server runs, although it only execs."""


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """A command that a test runs in this process sends the log to a stream of its own, which is closed afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
