"""An HTTP server that speaks the TokenReview API, and fails on demand: in the test's own event loop."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from extproc.adapters.kubernetes import PATH, POD, KubernetesReviewer
from tests.certificates import Authority, server_context
from tests.servers.kubernetes import STATIC, es256, write_kubeconfig

REVIEWER: Final = "reviewers-own-canary"
"""The credential that may review tokens."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Known:
    """A token, as the server knows it."""

    account: str
    audiences: Sequence[str]
    ends: float
    pod: str = ""


@dataclass
class TokenReviews:
    """It offers what `tests.servers.kubernetes.ApiServer` does. `answer`, where there is one, answers in its stead; `most` is
    how many questions it had before it at once; while its `gate` is shut it answers none.
    """

    folder: Path
    authority: Authority
    port: int = 0
    answer: Answer | None = None
    asked: int = 0
    inside: int = 0
    most: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _accounts: set[str] = field(default_factory=lambda: {"reviewer", "default"})
    _tokens: dict[str, Known] = field(default_factory=lambda: {STATIC: Known("default", ("egress", "vault"), 9e9)})

    def __post_init__(self) -> None:
        self.gate.set()
        self._key = self.authority.issue("accounts").key

    def account(self, name: str) -> None:
        self._accounts.add(name)

    def delete(self, name: str) -> None:
        self._accounts.remove(name)

    def token(self, name: str, *audiences: str, pod: str = "") -> str:
        return self._know(Known(name, audiences, time.time() + 3600, pod))

    def signed(self, name: str, *audiences: str, lifetime: float) -> str:
        return self._know(Known(name, audiences, time.time() + lifetime))

    def reviews(self) -> int:
        return self.asked

    def reviewer(self, folder: Path, account: str = "reviewer", **more: Any) -> KubernetesReviewer:
        (folder / "token").write_text(REVIEWER if account == "reviewer" else self.token(account))
        shutil.copy(self.authority.file, folder / "ca.crt")
        where = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}
        return KubernetesReviewer(account=folder, environ=where, **more)

    def kubeconfig(self, folder: Path) -> Path:
        return write_kubeconfig(folder, f"https://127.0.0.1:{self.port}", self.authority.file, {"token": REVIEWER})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        self.inside += 1
        self._news.set()
        self.most = max(self.most, self.inside)
        try:
            await self.gate.wait()
            return await (self.answer or self.review)(request)
        finally:
            self.inside -= 1

    async def reached(self, asked: int) -> None:
        """Wait until so many questions have come. Raises: TimeoutError."""
        async with asyncio.timeout(20):
            while self.asked < asked:
                self._news.clear()
                await self._news.wait()

    async def review(self, request: web.Request) -> web.Response:
        status = self._refuses(request.headers.get("authorization", ""))
        if status:
            return web.json_response({"kind": "Status", "status": "Failure", "code": status}, status=status)
        document = await request.json()
        document["status"] = self._review(**document["spec"])
        return web.json_response(document, status=201)

    def _know(self, known: Known) -> str:
        claims = {"sub": known.account, "aud": known.audiences, "exp": int(known.ends), "jti": len(self._tokens)}
        token = es256(self._key, claims)
        self._tokens[token] = known
        return token

    def _refuses(self, authorization: str) -> int:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or (token != REVIEWER and token not in self._tokens):
            return 401
        return 0 if token == REVIEWER else 403

    def _review(self, token: str, audiences: Sequence[str]) -> dict[str, Any]:
        known = self._tokens.get(token)
        if known is None or known.account not in self._accounts or known.ends <= time.time():
            return {"user": {}, "error": f"[invalid bearer token {token}]"}
        common = [name for name in audiences if name in known.audiences]
        if audiences and not common:
            return {"user": {}, "error": f"token audiences of {token} are invalid"}
        namespace = "system:serviceaccount:ai"
        user = {
            "username": f"{namespace}:{known.account}",
            "uid": "u-1",
            "groups": ["g", "system:serviceaccounts", "system:serviceaccounts:ai", "system:authenticated"],
            "extra": {POD: [known.pod]} if known.pod else {},
        }
        return {"authenticated": True, "user": user, "audiences": common}


@asynccontextmanager
async def serving(folder: Path, authority: Authority | None = None) -> AsyncIterator[TokenReviews]:
    """One that is up. Its certificate is of `authority`, or one of its own."""
    authority = authority or Authority(folder)
    server = TokenReviews(folder, authority)
    application = web.Application()
    application.router.add_post(PATH, server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(authority.issue("127.0.0.1")))
        await site.start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()
