"""Ends what `counter_stores` opened."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contract.counter_stores import OPENED, SERVERS, a_cluster, one_server


@pytest.fixture(scope="session", autouse=True)
def _servers() -> Iterator[None]:
    with SERVERS:
        yield
    one_server.cache_clear()
    a_cluster.cache_clear()


@pytest.fixture(autouse=True)
async def _close() -> AsyncIterator[None]:
    yield
    while OPENED:
        await OPENED.pop().close()
