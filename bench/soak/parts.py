"""What runs: the server, and the dependencies that go away and come back."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from aiohttp import web

from bench.gateway import CONFIGS, free_ports
from bench.process import running

SECRET = "sk-soak"
WHO = "ai-workloads/default"
TEMPLATE = (CONFIGS / "soak.yaml").read_text()
WINDOWS = ("5s", "6s")
"""Of a limit whose configuration changes at each reload."""


class Redis:
    """A redis-server that keeps nothing, and can be killed and stopped."""

    def __init__(self, directory: Path) -> None:
        (self.port,) = free_ports(1)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory)]
        with (self._directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(["redis-server", *options], stdout=log, stderr=log)

    def kill(self) -> None:
        """At once, as a crash would; also one that is stopped."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It accepts connections, and answers nothing."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)


@dataclass
class Vault:
    """What the server asks of Vault, and no more: who am I, which engine is it, what is at this path. `status` is that of each
    answer.
    """

    port: int = field(default_factory=lambda: free_ports(1)[0])
    status: int = 200

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/v1/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.json_response({"errors": ["Vault is sealed"]}, status=self.status)
        told = {
            "auth/token/lookup-self": {"ttl": 0, "renewable": False},
            "sys/internal/ui/mounts/secret": {"type": "kv", "options": {"version": "2"}},
            f"secret/data/egress/{WHO}": {"data": {"api_key": SECRET}, "metadata": {"version": 1}},
        }
        found = told.get(request.match_info["path"])
        if found is None:
            return web.json_response({"errors": []}, status=404)
        return web.json_response({"data": found})


@dataclass(frozen=True)
class Setting:
    """The files of a server in `directory`. `template`: the configuration, with places for what is known only now."""

    directory: Path
    redis: str
    vault: str
    template: str

    @property
    def config(self) -> Path:
        return self.directory / "extproc.yaml"

    @property
    def socket(self) -> Path:
        return self.directory / "extproc.sock"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def admin(self) -> Path:
        return self.directory / "admin.sock"

    def write(self) -> None:
        """Everything, for the first time."""
        shutil.copy(CONFIGS / "tokens.yaml", self.directory)
        (self.directory / "vault-token").write_text("soak-token")
        secrets = self.directory / "secrets" / WHO
        secrets.mkdir(parents=True, exist_ok=True)
        (secrets / "api_key").write_text(SECRET)
        self.change(0)

    def change(self, turn: int) -> None:
        """The configuration is another at each turn."""
        found = {
            "run": self.directory,
            "redis": self.redis,
            "vault": self.vault,
            "window": WINDOWS[turn % len(WINDOWS)],
        }
        self._replace(Template(self.template).substitute(found))

    def spoil(self) -> None:
        """It is none any more: the last good one stays in force."""
        self._replace(self.config.read_text().replace("TokenReview:v1", "TokenRevue:v1"))

    def _replace(self, text: str) -> None:
        """At once: nobody sees a half of it."""
        written = self.directory / ".extproc.yaml"
        written.write_text(text)
        written.replace(self.config)

    @contextmanager
    def serving(self, transport: str) -> Iterator[int]:
        """`extproc serve`; its process id."""
        argv = [sys.executable, "-m", "extproc", "serve", "--config", str(self.config), "--transport", transport]
        with running(argv, self.log, {**os.environ, "GRPC_VERBOSITY": "NONE"}) as pid:
            yield pid
