"""Questions to the API server of Kubernetes: the connections, the credentials of this process, and one fixed sentence for each
way in which there is no answer.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from extproc.adapters.untrusted import refusal
from extproc.errors import Unavailable

RENEWAL: Final = 10.0
"""Seconds that a client is kept at least, however it fares: so a wrong credential is no loop of reading files."""
LARGEST: Final = 1 << 20
"""Bytes of an answer."""

NO_ANSWER: Final = "the API server's answer is not that of a token review"
UNREADABLE: Final = "the credentials for the API server cannot be read"
FAULTS: Final[Sequence[tuple[type[Exception], str]]] = (
    (TimeoutError, "the API server did not answer in time"),
    (aiohttp.InvalidURL, "the address of the API server is not a URL"),
    (aiohttp.ClientSSLError, "there is no trusted TLS connection with the API server"),
    (aiohttp.ClientConnectorError, "the API server cannot be reached"),
    (aiohttp.ClientConnectionError, "the connection to the API server broke"),
    (aiohttp.ClientError, NO_ANSWER),
    (ConfigException, UNREADABLE),
    (OSError, UNREADABLE),
    (ValueError, UNREADABLE),
)
"""What the client library raises; the first that fits. The network's own OSErrors are ClientErrors too, so a bare one is a
file's.
"""
DROPPED: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)
MISCONFIGURED: Final = (ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError)
"""What comes of reading a kubeconfig that is not one."""

Document = Mapping[str, Any]
_reused: ContextVar[bool] = ContextVar("reused", default=False)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod's own way to the API server: the folder of its token and of the server's authority, and its environment. The
    token is read anew each minute.
    """

    account: Path
    environ: Mapping[str, str] = field(repr=False)
    trouble: str = (
        "this process runs in no pod with a service account, and connections.kubernetes.kubeconfig is not set"
    )

    async def load(self, configuration: Configuration) -> None:
        token, authority = (str(self.account / name) for name in ("token", "ca.crt"))
        loader = InClusterConfigLoader(token, authority, environ=self.environ)  # type: ignore[no-untyped-call]
        loader.load_and_set(configuration)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """A file, and one of its contexts; None is its current one."""

    path: Path
    context: str | None
    trouble: str = (
        "the kubeconfig cannot be used: it must be a readable file with the context, its cluster and its user"
    )

    async def load(self, configuration: Configuration) -> None:
        await load_kube_config(str(self.path), self.context, configuration, persist_config=False)  # type: ignore[no-untyped-call]


@dataclass(eq=False, slots=True)
class _Client:
    """The connections, and the credentials that they were made with."""

    api: ApiClient
    made: float
    users: int = 0
    outdated: bool = False

    async def post(self, path: str, document: Document) -> tuple[int, bytes]:
        """The generated methods would check the document against a model, and put what is in it into errors."""
        headers, auth = {"Accept": "application/json"}, ["BearerToken"]
        asked = await self.api.param_serialize("POST", path, header_params=headers, body=document, auth_settings=auth)
        answer = await self.api.call_api(*asked, _request_timeout=aiohttp.ClientTimeout(total=None))
        async with answer.response as response:
            return response.status, await read(response)

    async def close(self) -> None:
        await self.api.close()  # type: ignore[no-untyped-call]


class ApiServer:
    """Nothing is opened or read before the first question.

    The API server is reached directly, or through the `proxy-url` of the kubeconfig; the environment's proxies are for others.
    """

    def __init__(
        self, way: Pod | Kubeconfig, timeout: float, connections: int, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        """`timeout` is in seconds, for one question with all that it takes; `ticks` counts seconds."""
        self._way = way
        self._timeout = timeout
        self._connections = connections
        self._ticks = ticks
        self._client: _Client | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def post(self, path: str, document: Document) -> tuple[int, bytes]:
        """Status and body of the answer. Raises: Unavailable."""
        try:
            async with asyncio.timeout(self._timeout), self._borrowed() as client:
                return await self._watched(client, path, document)
        except tuple(kind for kind, _ in FAULTS) as error:
            fault = next(sentence for kind, sentence in FAULTS if isinstance(error, kind)) + refusal(error)
        raise Unavailable(fault)  # out here, so that it holds nothing of what the library raised

    async def close(self) -> None:
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _watched(self, client: _Client, path: str, document: Document) -> tuple[int, bytes]:
        """Ask, and see whether this process's credential, or its trust, is of yesterday."""
        try:
            answer = await self._persistent(client, path, document)
        except aiohttp.ClientSSLError:
            self._outdate(client)
            raise
        if answer[0] == 401:
            self._outdate(client)
        return answer

    async def _persistent(self, client: _Client, path: str, document: Document) -> tuple[int, bytes]:
        """Ask, and once more if the connection was an old one: most likely the server had given it up before."""
        _reused.set(False)
        try:
            return await client.post(path, document)
        except DROPPED:
            if not _reused.get() or self._closed:
                raise
        return await client.post(path, document)

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[_Client]:
        async with self._opening:
            if self._closed:
                raise Unavailable("the Kubernetes client is closed")
            if self._client is None:
                self._client = _Client(await self._open(), self._ticks())
            client = self._client
            client.users += 1
        try:
            yield client
        finally:
            client.users -= 1
            if client.outdated and not client.users:
                await client.close()

    def _outdate(self, client: _Client) -> None:
        """Let the next question read everything anew. Those under way keep what they have."""
        if self._client is client and self._ticks() - client.made >= RENEWAL:
            self._client, client.outdated = None, True

    async def _open(self) -> ApiClient:
        configuration = Configuration()
        configuration.connection_pool_maxsize = self._connections
        try:
            await self._way.load(configuration)
            return connect(configuration)
        except MISCONFIGURED:
            pass  # raised below, so that it holds nothing of the credentials
        raise Unavailable(self._way.trouble)


def connect(configuration: Configuration) -> ApiClient:
    """A client with these credentials. It opens no connection yet."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note)
    configuration.retries = None
    configuration.trace_configs = [trace]
    configuration.client_session_kwargs = {
        "trust_env": False,
        "cookie_jar": aiohttp.DummyCookieJar(),
        "middlewares": (stay,),
    }
    api = ApiClient(configuration)
    api.user_agent = "extproc"
    return api


async def stay(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Follow no redirect: it would take what is asked, somebody's token, to wherever it says."""
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise Unavailable("the API server answered with a redirect, which is not followed")
    return response


async def read(response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises: aiohttp.ClientPayloadError, for one that is too large."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST:
            raise aiohttp.ClientPayloadError("the answer is too large")
    return bytes(body)


async def _note(session: aiohttp.ClientSession, context: SimpleNamespace, told: object) -> None:  # noqa: ARG001
    _reused.set(True)
