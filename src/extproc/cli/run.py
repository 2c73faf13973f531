"""`extproc run`: Envoy and the server together; the shortest way to a working gateway."""

import asyncio
import os
import sys
from typing import Annotated, Literal

import typer

from extproc import hosting
from extproc.cli.options import Config
from extproc.envoy.gateway import run_gateway, serve_command
from extproc.envoy.plan import Plan
from extproc.envoy.process import Ended
from extproc.envoy.resolved import plan_of
from extproc.reload.source import Source
from extproc.telemetry import configure_logging
from extproc.telemetry.otel import wanted

NAME = "run"
NEEDS_ARGUMENTS = True


def command(
    config: Config,
    mode: Annotated[Literal["sidecar", "inprocess"], typer.Option(help="Where the server runs.")] = "sidecar",
    transport: Annotated[Literal["http2", "envoy"], typer.Option(help="What carries a sidecar's messages.")] = "http2",
) -> None:
    """Start Envoy and the server. Ctrl-C ends both at once, SIGTERM lets them finish what is open."""
    path = config.absolute() if mode == "inprocess" else config  # its processes work in another folder
    loaded = Source(path).start()
    resolved = loaded.resolved
    wanted(os.environ)
    plan = plan_of(resolved)
    drain = resolved.settings.drain_seconds
    if mode == "inprocess":
        configure_logging()
        raise typer.Exit(asyncio.run(hosting.run(plan, loaded, lambda: _announce(plan))))
    server = (*serve_command(config), "--transport", transport)
    try:
        code = asyncio.run(run_gateway(plan, server, lambda: _announce(plan), drain=drain))
    except Ended as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(error.code) from None
    raise typer.Exit(code)


def _announce(plan: Plan) -> None:
    hosts = ", ".join(domain for host in plan.hosts for domain in host.domains)
    scheme = "https" if plan.certificate else "http"
    typer.echo(
        f"The gateway {plan.gateway} listens on {scheme}://{plan.listen}, for {hosts}. Ctrl-C ends it.", err=True
    )
