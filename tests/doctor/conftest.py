"""The stub upstream of the end-to-end tests, here too."""

from collections.abc import Iterator

import pytest

from tests.e2e.processes import Stub


@pytest.fixture(scope="session")
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.stop()
