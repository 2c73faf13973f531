"""`extproc catalog`: which kinds of extension there are."""

import json
from typing import Annotated

import typer

from extproc.cli.options import AsJson
from extproc.compose import CATALOG
from extproc.policy.describe import catalog as described
from extproc.policy.describe import schema as schema_of

NAME = "catalog"
NEEDS_ARGUMENTS = False


def command(
    schema: Annotated[
        str | None, typer.Option("--schema", metavar="TYPE", help="The JSON Schema of this type's config.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Kinds, versions, phases and JSON Schemas."""
    if schema is not None:
        if schema not in CATALOG:
            raise typer.BadParameter(f"{schema} is not one of {', '.join(CATALOG)}", param_hint="--schema")
        typer.echo(json.dumps(schema_of(schema, CATALOG[schema]), indent=2))
    elif as_json:
        typer.echo(json.dumps(described(CATALOG), indent=2))
    else:
        for type_, found in described(CATALOG).items():
            typer.echo(f"{type_:24} {', '.join(found['phases'])}")
