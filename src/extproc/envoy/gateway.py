"""`extproc run`: the server and Envoy together."""

import errno
import functools
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from extproc.envoy.binary import command, find_envoy
from extproc.envoy.bootstrap import bootstrap, text
from extproc.envoy.plan import Plan
from extproc.envoy.probe import accepts, envoy_live
from extproc.envoy.process import Child, run
from extproc.errors import ConfigError, Place
from extproc.folder import own_folder
from extproc.policy.names import Address


async def run_gateway(
    plan: Plan, server: Sequence[str], announce: Callable[[], None], *, drain: float = 5.0, extra: Sequence[Child] = ()
) -> int:
    """Run `server` (a command line), the Envoy of `plan`, and `extra`, until SIGINT or SIGTERM. `drain` are the seconds that
    the server takes to drain. Gives the exit code: 130 after SIGINT, 0 after SIGTERM.

    Raises:
        ConfigError: Envoy is not there, or the plan cannot be served.
        Ended: a process ended by itself, or did not get ready.
    """
    binary = find_envoy(os.environ)
    config = text(bootstrap(plan))
    check_places(plan)
    with own_folder() as folder:
        path = folder / "envoy.yaml"
        path.write_text(config, encoding="utf-8")
        children = [server_child(plan, server, drain), envoy_child(plan, command(binary, path)), *extra]
        return await run(children, announce)


def server_child(plan: Plan, argv: Sequence[str], drain: float) -> Child:
    """The ext_proc server: ready when each worker accepts connections."""

    async def ready() -> bool:
        return all([await accepts(address) for address in plan.sockets])

    return Child("the ext_proc server", argv, ready, grace=drain + 15)


def envoy_child(plan: Plan, argv: Sequence[str]) -> Child:
    """Envoy: ready when its listeners are open."""
    return Child("Envoy", argv, functools.partial(envoy_live, plan.admin))


def stub_child(listen: Address) -> Child:
    """The stub upstream, as the last of all: it ends when nobody asks it any more."""
    argv = (sys.executable, "-m", "extproc.stub", "--listen", str(listen))
    return Child("the stub upstream", argv, functools.partial(accepts, listen))


def serve_command(config: Path) -> tuple[str, ...]:
    """The command line of the server for this configuration, with the interpreter that runs now."""
    return (sys.executable, "-m", "extproc", "serve", "--config", str(config))


def check_places(plan: Plan) -> None:
    """That Envoy can listen where it is to, and read the files of its certificates. Raises: ConfigError."""
    check_free(plan.admin, "envoy.admin")
    check_free(plan.listen, "envoy.listen")
    for field, path in _files(plan):
        if not os.access(path, os.R_OK):
            raise ConfigError(f"{path} is not there, or cannot be read: Envoy needs it", Place(field=field))


def _files(plan: Plan) -> Iterator[tuple[str, Path]]:
    """Each with where it is written."""
    if plan.certificate:
        yield "envoy.tls.cert", plan.certificate.cert
        yield "envoy.tls.key", plan.certificate.key
    for upstream in plan.upstreams:
        for name in ("ca", "cert", "key"):
            if path := getattr(upstream.tls, name, None):
                yield f"Backend {upstream.backend}: fqdn.tls.{name}", path


def check_free(address: Address, field: str) -> None:
    """Envoy would say it in its own words, and only later; and it shares a port with another Envoy, and takes away its socket,
    without a word. `field` is where the address is written. Raises: ConfigError.
    """
    if address.path is not None:
        _make_directory(address.path.parent, field)
        _check_socket(address.path, field)
        return
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address.host, address.port))
        except OSError as error:
            message = f"Envoy cannot listen on {address} ({error.strerror}): end what uses it, or write another address"
            raise ConfigError(message, Place(field=field)) from error


def _make_directory(path: Path, field: str) -> None:
    try:
        path.mkdir(mode=0o750, exist_ok=True)
    except OSError as error:
        message = f"{path} cannot be made ({error.strerror}): make it, or write another path"
        raise ConfigError(message, Place(field=field)) from error


def _check_socket(path: Path, field: str) -> None:
    with socket.socket(socket.AF_UNIX) as trial:
        trial.settimeout(1)
        if trial.connect_ex(str(path)) in (errno.ENOENT, errno.ECONNREFUSED):
            return  # nobody is there, and what is left of somebody goes away with Envoy's start
    message = f"another process listens on {path}: end it (is this gateway running already?), or write another path"
    raise ConfigError(message, Place(field=field))
