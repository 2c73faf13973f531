"""`extproc envoy`: the Envoy bootstrap that fits a configuration."""

from typing import Annotated, Literal

import typer

from extproc.cli.options import Config
from extproc.compose import configure
from extproc.envoy.bootstrap import bootstrap, text
from extproc.envoy.inprocess import inprocess
from extproc.envoy.python import interpreter, shell
from extproc.envoy.resolved import plan_of
from extproc.hosting import inside

NAME = "envoy"
NEEDS_ARGUMENTS = True


def command(
    config: Config,
    mode: Annotated[Literal["sidecar", "inprocess"], typer.Option(help="Where the server runs.")] = "sidecar",
) -> None:
    """Print the Envoy bootstrap that fits this configuration, as YAML."""
    plan = plan_of(configure(config))
    if mode == "sidecar":
        typer.echo(text(bootstrap(plan)), nl=False)
        return
    environment = {**interpreter(), **inside(config)}
    typer.echo(
        "# The server is inside, and needs an interpreter. Start Envoy in a folder that nobody else writes into, with"
    )
    typer.echo(f"# {shell(environment)}")
    typer.echo(text(inprocess(plan)), nl=False)
