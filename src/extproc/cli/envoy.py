"""`extproc envoy`: the Envoy bootstrap that fits a configuration."""

from typing import Annotated, Literal

import typer

from extproc.cli.options import Config
from extproc.compose import configure
from extproc.envoy.bootstrap import bootstrap, text
from extproc.envoy.resolved import plan_of
from extproc.errors import ConfigError

NAME = "envoy"
NEEDS_ARGUMENTS = True


def command(
    config: Config,
    mode: Annotated[Literal["sidecar", "inprocess"], typer.Option(help="Where the server runs.")] = "sidecar",
) -> None:
    """Print the Envoy bootstrap that fits this configuration, as YAML."""
    if mode != "sidecar":
        raise ConfigError("--mode inprocess is not served by this version: leave it out, or write sidecar")
    typer.echo(text(bootstrap(plan_of(configure(config)))), nl=False)
