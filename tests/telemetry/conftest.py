"""What these tests leave as it was."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _switching() -> Iterator[None]:
    """Whoever exports makes threads take turns more often."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)
