"""How often: 429 with its headers, what is not charged, and keys that do not resolve."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.e2e.clients import Answer
from tests.e2e.gateway import AUTHN, INJECT, STRANGER, Gateway, backend, gateway, policy, quota
from tests.e2e.processes import Stub, wait_until

pytestmark = pytest.mark.e2e

BUCKETS = count()


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    """Three requests for each value of x-bucket, so that each test has its own."""
    limit = quota(3, key=['request.headers["x-bucket"]'])
    with gateway(policy(AUTHN, limit), backend(stub.port)) as running:
        yield running


@pytest.fixture
def bucket() -> str:
    return f"bucket-{next(BUCKETS)}"


def ask(gate: Gateway, bucket: str, **options: object) -> Answer:
    return gate.get("/limits", headers=[("x-bucket", bucket)], **options)


def test_the_fourth_of_three_is_429(gate: Gateway, bucket: str) -> None:
    assert [ask(gate, bucket).status for _ in range(4)] == [200, 200, 200, 429]
    assert ask(gate, f"{bucket}-other").status == 200


def test_429_says_when(gate: Gateway, bucket: str) -> None:
    answers = [ask(gate, bucket) for _ in range(4)]
    denied = answers[-1]
    assert denied.code == "rate_limited"
    assert 0 < int(denied.values("retry-after")[0]) <= 3600
    assert denied.values("ratelimit")
    assert denied.values("ratelimit-policy")
    assert denied.values("x-ratelimit-remaining-requests") == ["0"]


def test_who_is_denied_before_is_not_charged(gate: Gateway, bucket: str) -> None:
    for token in (None, "wrong", STRANGER):
        assert ask(gate, bucket, token=token).status in (401, 403)
    assert [ask(gate, bucket).status for _ in range(4)] == [200, 200, 200, 429]


def test_an_unknown_host_is_not_charged(gate: Gateway, bucket: str) -> None:
    assert ask(gate, bucket, host="nowhere.test").code == "no_backend"
    assert [ask(gate, bucket).status for _ in range(4)] == [200, 200, 200, 429]


def test_many_at_once_get_no_more(gate: Gateway, bucket: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: ask(gate, bucket).status, range(24)))
    assert statuses.count(200) == 3
    assert statuses.count(429) == 21


def test_a_key_that_does_not_resolve_is_403(gate: Gateway) -> None:
    answer = gate.get("/limits/keyless")
    assert (answer.status, answer.code) == (403, "key_unresolved")


def test_one_workload_has_at_most_a_hundred_at_once(stub: Stub) -> None:
    """The hundred are waiting for their answers while the others ask."""
    with gateway(policy(AUTHN), backend(stub.port, INJECT)) as gate, ThreadPoolExecutor(100) as pool:
        waiting = [pool.submit(gate.get, "/slow/2.5s") for _ in range(100)]
        wait_until(lambda: len(stub.received("/slow/2.5s")) == 100)
        answer = gate.get("/limits/one-more")
        assert (answer.status, answer.code) == (429, "rate_limited")
        assert answer.values("retry-after") == ["1"]
        assert {one.result().status for one in waiting} == {200}
        assert gate.get("/limits/again").status == 200
