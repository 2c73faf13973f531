"""An API server that fails in every way: each is a fixed sentence, and no token is in any of them."""

import asyncio
import gc
import json
import logging
import os
import socket
import struct
import threading
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.adapters.kubernetes import NO_RIGHT, KubernetesReviewer, judge
from extproc.adapters.kubernetes_client import LARGEST, NO_ANSWER, RENEWAL
from extproc.errors import Cause, Unavailable
from extproc.testing import Clock
from tests.certificates import Authority
from tests.servers.kubernetes import STATIC, write_kubeconfig
from tests.servers.token_reviews import REVIEWER, Answer, TokenReviews, serving

BROKE = "the connection to the API server broke"
SLOW = "the API server did not answer in time"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TokenReviews]:
    async with serving(tmp_path) as made:
        yield made


@pytest.fixture
async def reviewer(server: TokenReviews, tmp_path: Path) -> AsyncIterator[KubernetesReviewer]:
    made = server.reviewer(tmp_path)
    yield made
    await made.close()


def says(status: int = 201, body: bytes = b"{}", **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers=headers)

    return answer


def reviewed(**status: Any) -> bytes:
    return json.dumps({"kind": "TokenReview", "status": status}).encode()


async def hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def fault(reviewer: KubernetesReviewer) -> str:
    """What is said of a good token, when it has been seen that nothing shows it."""
    with pytest.raises(Unavailable) as caught:
        await reviewer.review(STATIC, ["egress"])
    shown = "".join(traceback.format_exception(caught.value, chain=True)) + repr(caught.value)
    assert "canary" not in shown
    assert caught.value.cause is Cause.UNAVAILABLE
    assert caught.value.__context__ is caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (400, "the API server refused a token review"),
        (401, NO_RIGHT),
        (403, NO_RIGHT),
        (404, "the API server does not serve token reviews (authentication.k8s.io/v1)"),
        (409, "the API server answered a token review with a conflict"),
        (422, "the API server refused a token review"),
        (429, "the API server has too much to do to review a token"),
        (500, "the API server failed to review a token"),
        (503, "the API server failed to review a token"),
        (504, "the API server failed to review a token"),
    ],
)
async def test_a_status_is_a_sentence(
    server: TokenReviews, reviewer: KubernetesReviewer, status: int, sentence: str
) -> None:
    server.answer = says(status, reviewed(authenticated=True, user={"username": STATIC}, audiences=["egress"]))
    assert await fault(reviewer) == sentence
    assert server.asked == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_takes_no_token_elsewhere(
    server: TokenReviews, reviewer: KubernetesReviewer, status: int, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    async with serving(tmp_path / "other", server.authority) as other:
        server.answer = says(status, location=f"https://127.0.0.1:{other.port}/")
        assert "redirect" in await fault(reviewer)
        assert (server.asked, other.asked) == (1, 0)


USER = {"username": STATIC}
BODIES = {
    "nothing": b"",
    "no JSON": b"<html>canary</html>",
    "cut": b'{"kind": "TokenReview", "status": {"authenticated": true',
    "a list": b"[]",
    "no status": b'{"kind": "TokenReview"}',
    "our own question": json.dumps({"kind": "TokenReview", "spec": {"token": STATIC}}).encode(),
    "status null": b'{"kind": "TokenReview", "status": null}',
    "a failure": b'{"kind": "Status", "status": "Failure", "code": 200}',
    "another kind": reviewed(authenticated=True, user=USER).replace(b"TokenReview", b"SubjectAccessReview"),
    "a text for true": reviewed(authenticated="true", user=USER),
    "a number for true": reviewed(authenticated=1, user=USER),
    "no user": reviewed(authenticated=True),
    "no name": reviewed(authenticated=True, user={"uid": STATIC}),
    "an empty name": reviewed(authenticated=True, user={"username": ""}),
    "a number for a name": reviewed(authenticated=True, user={"username": 1}),
    "a text for audiences": reviewed(authenticated=True, user=USER, audiences="egress"),
    "groups of numbers": reviewed(authenticated=True, user={**USER, "groups": [1]}),
    "no UTF-8": reviewed(authenticated=True, user={"username": "@"}).replace(b"@", b"\xff"),
    "half a surrogate": reviewed(authenticated=True, user={"username": "\udc80"}),
    "a deep one": b"[" * 100_000,
    "a large one": reviewed(authenticated=True, user=USER) + b" " * LARGEST,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_what_is_no_review_is_no_answer(server: TokenReviews, reviewer: KubernetesReviewer, body: bytes) -> None:
    server.answer = says(body=body)
    assert await fault(reviewer) == NO_ANSWER
    server.answer = None
    assert (await reviewer.review(STATIC, ["egress"])).peer is not None


async def test_why_a_token_is_nobodys_is_not_told(server: TokenReviews, reviewer: KubernetesReviewer) -> None:
    server.answer = says(body=reviewed(user={}, error=f"invalid {STATIC}"))
    review = await reviewer.review(STATIC, ["egress"])
    assert review.peer is None
    assert "canary" not in repr(review)


@pytest.mark.parametrize("pods", [[], ["a", "b"]])
async def test_one_pod_or_none(server: TokenReviews, reviewer: KubernetesReviewer, pods: list[str]) -> None:
    extra = {"authentication.kubernetes.io/pod-name": pods}
    server.answer = says(body=reviewed(authenticated=True, user={"username": "u", "extra": extra}, audiences=["x"]))
    review = await reviewer.review(STATIC, ["egress"])
    assert review.peer is not None
    assert (review.peer.pod, review.audiences) == ("", ())


async def test_an_answer_that_breaks_off(server: TokenReviews, reviewer: KubernetesReviewer) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "1000"})
        await response.prepare(request)
        await response.write(b'{"kind": "TokenReview", ')
        await hang_up(request)
        return response

    server.answer = half
    assert await fault(reviewer) in {BROKE, NO_ANSWER}
    assert server.asked == 1


async def test_no_answer_is_waited_for_so_long(server: TokenReviews, tmp_path: Path) -> None:
    reviewer = server.reviewer(tmp_path, timeout=0.2)
    assert await reviewer.probe() is None
    server.gate.clear()
    started = asyncio.get_running_loop().time()
    assert await fault(reviewer) == SLOW
    assert await reviewer.probe() == SLOW
    assert 0.35 < asyncio.get_running_loop().time() - started < 2
    server.gate.set()
    assert (await reviewer.review(STATIC, ["egress"])).peer is not None
    await reviewer.close()


async def test_a_port_that_never_says_anything(server: TokenReviews, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # the kernel accepts, and nobody reads
        address = f"https://127.0.0.1:{mute.getsockname()[1]}"
        path = write_kubeconfig(tmp_path, address, server.authority.file, {"token": "t"})
        reviewer = KubernetesReviewer(path, "there", timeout=0.2)
        assert await fault(reviewer) == SLOW
        await reviewer.close()


async def test_a_start_without_the_api_server(server: TokenReviews, tmp_path: Path) -> None:
    port, server.port = server.port, 1
    reviewer = server.reviewer(tmp_path)
    assert await fault(reviewer) == await reviewer.probe() == "the API server cannot be reached"
    await reviewer.close()
    server.port = port


async def test_a_certificate_for_another_name(server: TokenReviews, tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path, f"https://localhost:{server.port}", server.authority.file, {"token": REVIEWER})
    reviewer = KubernetesReviewer(path, "there")
    assert await fault(reviewer) == (
        "there is no trusted TLS connection with the API server: Hostname mismatch, certificate is not valid for 'localhost'."
    )
    assert server.asked == 0
    await reviewer.close()


async def test_a_credential_that_is_no_header(
    server: TokenReviews, reviewer: KubernetesReviewer, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("own-canary\nx: y")
    assert await fault(reviewer) == "the credentials for the API server cannot be read"
    assert server.asked == 0


async def test_a_name_that_nobody_knows(server: TokenReviews, tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path, "https://api.invalid:6443", server.authority.file, {"token": "t"})
    reviewer = KubernetesReviewer(path, "there")
    assert await fault(reviewer) in {"the API server cannot be reached", SLOW}
    await reviewer.close()


async def test_an_old_connection_that_the_server_dropped_is_no_failure(
    server: TokenReviews, reviewer: KubernetesReviewer
) -> None:
    async def once(request: web.Request) -> web.StreamResponse:
        server.answer = None
        return await hang_up(request)

    assert await reviewer.probe() is None
    server.answer = once
    assert (await reviewer.review(STATIC, ["egress"])).peer is not None
    assert server.asked == 3


async def test_a_server_that_drops_all_connections_is_asked_twice_at_most(
    server: TokenReviews, reviewer: KubernetesReviewer
) -> None:
    server.answer = hang_up
    assert await fault(reviewer) == BROKE
    assert server.asked == 1
    server.answer = None
    assert await reviewer.probe() is None
    server.answer = hang_up
    assert await fault(reviewer) == BROKE
    assert server.asked == 4


async def test_one_that_is_closed_while_it_asks(server: TokenReviews, reviewer: KubernetesReviewer) -> None:
    server.gate.clear()
    asking = asyncio.create_task(reviewer.review(STATIC, ["egress"]))
    await server.reached(1)
    await reviewer.close()
    server.gate.set()
    with pytest.raises(Unavailable):
        await asking


async def test_new_credentials_break_off_no_question(server: TokenReviews, tmp_path: Path) -> None:
    clock, asked = Clock(), iter(range(3))

    async def first_waits_and_second_is_refused(request: web.Request) -> web.StreamResponse:
        number = next(asked)
        if number == 0:
            await answered.wait()
        return await (says(401)(request) if number == 1 else server.review(request))

    answered, server.answer = asyncio.Event(), first_waits_and_second_is_refused
    reviewer = server.reviewer(tmp_path, ticks=clock)
    first = asyncio.create_task(reviewer.review(STATIC, ["egress"]))
    await server.reached(1)
    clock.advance(RENEWAL)
    assert await reviewer.probe() == NO_RIGHT
    assert await reviewer.probe() is None
    answered.set()
    assert (await first).peer is not None
    await reviewer.close()


async def test_one_who_waits_and_leaves_costs_no_connection(server: TokenReviews, tmp_path: Path) -> None:
    reviewer = server.reviewer(tmp_path, connections=1)
    server.gate.clear()
    for number in range(3):
        asking = asyncio.create_task(reviewer.review(STATIC, ["egress"]))
        await server.reached(number + 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    server.gate.set()
    assert (await reviewer.review(STATIC, ["egress"])).peer is not None
    await reviewer.close()


@pytest.mark.parametrize(
    "environ", [{}, {"KUBERNETES_SERVICE_HOST": ""}, {"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "1"}]
)
async def test_outside_of_a_pod(tmp_path: Path, environ: dict[str, str]) -> None:
    reviewer = KubernetesReviewer(account=tmp_path / "none", environ=environ)
    assert await reviewer.probe() == (
        "this process runs in no pod with a service account, and connections.kubernetes.kubeconfig is not set"
    )
    await reviewer.close()


KUBECONFIGS: list[Any] = [
    "",
    "[]",
    "a: [",
    "{}",
    "\xff\x00",
    {"current-context": "there"},
    {"current-context": "there", "contexts": [{"name": "there", "context": {}}]},
    {"current-context": "there", "contexts": "there", "clusters": 1, "users": None},
    {
        "contexts": [{"name": "there", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority": "none.pem"}}],
        "users": [{"name": "u", "user": {"token": STATIC}}],
    },
    {
        "contexts": [{"name": "there", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"client-certificate-data": STATIC, "client-key-data": "canary"}}],
    },
]


@pytest.mark.parametrize("written", KUBECONFIGS)
async def test_a_kubeconfig_that_is_none(tmp_path: Path, written: Any) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(written if isinstance(written, str) else json.dumps(written), "latin-1")
    reviewer = KubernetesReviewer(path, "there")
    assert "the kubeconfig cannot be used" in await fault(reviewer)
    await reviewer.close()


async def test_no_log_line_shows_a_token(
    server: TokenReviews, reviewer: KubernetesReviewer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [None, says(403, STATIC.encode()), says(body=reviewed(error=STATIC)), says(307, location="/"), hang_up]
    for answer in answers:
        server.answer = answer
        try:
            await reviewer.review(STATIC, ["egress"])
        except Unavailable as error:
            logging.getLogger("test").exception("no review", exc_info=error)
    shown = caplog.text + repr(reviewer) + str(vars(reviewer))
    assert "no review" in shown
    assert "canary" not in shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("TokenReview"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["kind", "status", "authenticated", "user", "username", "audiences", "groups", "extra"]), inner, max_size=6),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(answer=JSON, status=JSON)
def test_only_authenticated_true_makes_a_peer(answer: Any, status: Any) -> None:
    for body in (answer, {"kind": "TokenReview", "status": status}):
        try:
            review = judge(json.dumps(body).encode(), ["egress"])
        except Unavailable:
            continue
        assert review.peer is None or body["status"]["authenticated"] is True
        assert set(review.audiences) <= {"egress"}


@given(body=st.binary(max_size=50))
@settings(max_examples=100, deadline=None)
def test_no_bytes_are_more_than_unavailable(body: bytes) -> None:
    with pytest.raises(Unavailable):
        judge(body, ["egress"])


def resets(listening: socket.socket) -> None:
    """Accept, and end each connection with a reset, until `listening` is closed."""
    with suppress(OSError):
        while True:
            came, _ = listening.accept()
            came.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            came.close()


async def busy() -> None:
    """A loop that comes to everything late."""
    while True:
        await asyncio.sleep(0)
        time.sleep(0.002)  # noqa: ASYNC251 - that is what it is for


async def test_a_connection_that_is_reset_at_once_takes_nobody_elses_with_it(tmp_path: Path) -> None:
    """A descriptor that is closed twice is somebody else's the second time (extproc.envoy.python.LOOP)."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=resets, args=(listening,), daemon=True).start()
        reviewer = TokenReviews(tmp_path, Authority(tmp_path), listening.getsockname()[1]).reviewer(tmp_path)
        late = asyncio.create_task(busy())
        others: list[int] = []
        for _ in range(20):
            with pytest.raises(Unavailable):
                await reviewer.review(STATIC, ["egress"])
            others += os.pipe()
        late.cancel()
        await reviewer.close()
        gc.collect()
        for descriptor in others:
            os.close(descriptor)
        listening.shutdown(socket.SHUT_RDWR)
