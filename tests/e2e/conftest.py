"""What all end-to-end tests share."""

from collections.abc import Iterator

import pytest

from tests.e2e.gateway import TRANSPORT
from tests.e2e.processes import Stub

APART = (
    "test_workers.py",
    "test_drain.py::test_after_the_end",
    "test_drain.py::test_an_end_at_once",
    "test_faults.py::test_a_server_",
    "test_credentials.py::test_a_cluster_that_is_not_the_backends",
    "test_doctor.py::test_a_server_that_is_away",
    "test_doctor.py::test_what_is_wrong_with_envoy",
    "test_doctor.py::test_a_redis_that_goes_away[required]",
    "test_upstream.py::test_the_upstream_pass_without_a_token",
    "test_upstream.py::test_a_stream_of_no_known_pass",
    "test_upstream.py::test_passes_of_one_exchange_at_different_workers",
    "test_upstream.py::test_an_upstream_pass_that_nobody_answers",
    "test_upstream.py::test_another_server_that_was_started_anew",
    "test_upstream.py::test_a_denial_of_a_try_is_in_the_access_log",
)
"""Tests of a server that is a process of its own: they end it and ask the gateway, or ask it without the gateway, or read a log
that is the gateway's alone, or have several. In-process there is no such server.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip those where there is none."""
    if TRANSPORT == "inprocess":
        reason = "in-process the gateway and its server are one"
        for item in items:
            if any(f"e2e/{name}" in item.nodeid for name in APART):
                item.add_marker(pytest.mark.skip(reason))


@pytest.fixture(scope="session")
def stub() -> Iterator[Stub]:
    """One stub upstream; tests tell their requests apart by paths of their own."""
    stub = Stub()
    yield stub
    stub.stop()
