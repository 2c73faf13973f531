"""What all end-to-end tests share."""

from collections.abc import Iterator

import pytest

from tests.e2e.processes import Stub


@pytest.fixture(scope="session")
def stub() -> Iterator[Stub]:
    """One stub upstream; tests tell their requests apart by paths of their own."""
    stub = Stub()
    yield stub
    stub.stop()
