"""`extproc doctor`: does the gateway that runs do what its configuration wants?"""

import asyncio
import json
from typing import Annotated

import typer

from extproc.cli.options import AsJson
from extproc.doctor import examine
from extproc.errors import ConfigError, Place
from extproc.policy.documents import EnvoySettings, ExtProcConfiguration
from extproc.policy.names import Address, parse_address

NAME = "doctor"
NEEDS_ARGUMENTS = False

ADMIN: str = ExtProcConfiguration.model_fields["admin"].default
ENVOY: str = EnvoySettings.model_fields["admin"].default


def command(
    admin: Annotated[str, typer.Option(metavar="ADDR", help="The server's admin port.")] = ADMIN,
    envoy_admin: Annotated[str, typer.Option(metavar="ADDR", help="Envoy's admin port.")] = ENVOY,
    as_json: AsJson = False,
) -> None:
    """Ask the server and Envoy, and say in a sentence each what is not as it should be. Exit code 1 if something is, else 0."""
    findings = asyncio.run(examine(_address(admin, "--admin"), _address(envoy_admin, "--envoy-admin")))
    if as_json:
        typer.echo(json.dumps({"findings": [finding.as_json() for finding in findings]}, indent=2))
    else:
        for finding in findings:
            typer.echo(finding)
        if not findings:
            typer.echo("All is well: every request meets the server, as it needs, and its dependencies answer.")
    raise typer.Exit(int(bool(findings)))


def _address(text: str, option: str) -> Address:
    """Raises: ConfigError."""
    try:
        return parse_address(text)
    except ValueError as error:
        raise ConfigError(str(error), Place(field=option)) from None
