"""Whose token is this: the TokenReview API of Kubernetes (`authentication.k8s.io/v1`).

One POST for one question. What is asked twice, by whom, and how much at once is decided in front of the port.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from extproc.adapters.calls import counted
from extproc.adapters.kubernetes_client import NO_ANSWER, ApiServer, Kubeconfig, Pod
from extproc.adapters.static_tokens import BEARER
from extproc.core.measure import calls
from extproc.core.peer import Peer
from extproc.errors import Unavailable
from extproc.ports import Review

PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token and the authority of the API server."""
POD: Final = "authentication.kubernetes.io/pod-name"
"""The `extra` of a user that names the pod its token is bound to."""
PROBE: Final = "extproc-probe"
"""Nobody's token: asking about it shows that this process may ask."""
CONNECTIONS: Final = 33
"""The 32 reviews of a process, and the probe."""
TIMEOUT: Final = 5.0

NO_RIGHT: Final = (
    "the API server does not let this process review tokens: it needs the ClusterRole system:auth-delegator"
)
STATUSES: Final[Mapping[int, str]] = {
    401: NO_RIGHT,
    403: NO_RIGHT,
    404: "the API server does not serve token reviews (authentication.k8s.io/v1)",
    409: "the API server answered a token review with a conflict",
    429: "the API server has too much to do to review a token",
}


class KubernetesReviewer:
    """A `TokenReviewer` and a `Dependency`. It may be made without an API server; the first question opens a connection."""

    name: Final = "kubernetes"

    def __init__(
        self,
        kubeconfig: Path | None = None,
        context: str | None = None,
        *,
        timeout: float = TIMEOUT,
        connections: int = CONNECTIONS,
        account: Path = ACCOUNT,
        environ: Mapping[str, str] = os.environ,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a `kubeconfig` this is a pod: its `account` and `environ` say where and who. `context` is the kubeconfig's
        current one by default; `timeout` is in seconds, for one review; `ticks` counts seconds.
        """
        way = Pod(account, environ) if kubeconfig is None else Kubeconfig(kubeconfig, context)
        self._server = ApiServer(way, timeout, connections, ticks)
        self.times = calls()

    async def review(self, token: str, audiences: Sequence[str]) -> Review:
        """Who `token` is. What could be no bearer token is nobody, and nobody is asked.

        Raises:
            Unavailable: there is no answer.
        """
        return await counted(self.times, self._ask(token, audiences)) if BEARER.fullmatch(token) else Review(None)

    async def _ask(self, token: str, audiences: Sequence[str]) -> Review:
        """Raises: Unavailable."""
        spec = {"token": token, "audiences": list(audiences)}
        question = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        status, body = await self._server.post(PATH, question)
        if not 200 <= status < 300:
            raise Unavailable(refusal(status))
        return judge(body, audiences)

    async def probe(self) -> str | None:
        """None if tokens can be reviewed, else why not. It takes the timeout of a review at most."""
        try:
            await self._ask(PROBE, ())
        except Unavailable as error:
            return str(error)
        return None

    async def close(self) -> None:
        """Give back the connections. Nobody is asked any more."""
        await self._server.close()


class _Part(BaseModel):
    """What is read of an answer. A field that has nothing in it is left out by the API server."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class _User(_Part):
    username: str = ""
    uid: str = ""
    groups: list[str] = Field(default_factory=list)
    extra: dict[str, list[str]] = Field(default_factory=dict)


class _Status(_Part):
    authenticated: bool = False
    audiences: list[str] = Field(default_factory=list)
    user: _User = _User()


class _Answer(_Part):
    kind: Literal["TokenReview"]
    status: _Status


def judge(body: bytes, audiences: Sequence[str]) -> Review:
    """The review that an answer is. `status.error` says why a token is nobody's: to nobody.

    Raises:
        Unavailable: it is no review.
    """
    try:
        status = _Answer.model_validate_json(body).status
    except ValidationError:
        status = None
    if status is None or (status.authenticated and not status.user.username):
        raise Unavailable(NO_ANSWER)
    if not status.authenticated:
        return Review(None)
    user, pods = status.user, status.user.extra.get(POD, [])
    peer = Peer(user.username, user.uid, tuple(user.groups), pod=pods[0] if len(pods) == 1 else "")
    return Review(peer, tuple(name for name in status.audiences if name in audiences or not audiences))


def refusal(status: int) -> str:
    """What an HTTP status that is no success means."""
    failed = "the API server failed to review a token" if status >= 500 else "the API server refused a token review"
    return STATUSES.get(status, failed)
