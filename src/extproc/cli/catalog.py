"""`extproc catalog`: which kinds of extension there are."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from extproc.cli.options import AsJson
from extproc.compose import CATALOG
from extproc.errors import ConfigError
from extproc.policy.catalog import installed
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
    """Types, phases and JSON Schemas: ours, and those of installed packages. Exit code 1 if one of those is broken."""
    others = dict(installed())
    broken = {type_: found for type_, found in others.items() if isinstance(found, ConfigError)}
    kinds: Mapping[str, Any] = {**CATALOG, **{type_: others[type_] for type_ in others if type_ not in broken}}
    if schema is not None:
        if schema not in kinds:
            raise typer.BadParameter(_unknown(schema, kinds, broken), param_hint="--schema")
        typer.echo(json.dumps(schema_of(schema, kinds[schema]), indent=2))
        return
    found = described(kinds)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        width = max(24, *map(len, found))
        for type_, kind in found.items():
            typer.echo(f"{type_:{width}} {', '.join(kind['phases'])}")
    for type_, error in broken.items():
        sys.stderr.write(f"warning: {type_}: {error.message}\n")
    raise typer.Exit(int(bool(broken)))


def _unknown(type_: str, kinds: Mapping[str, Any], broken: Mapping[str, ConfigError]) -> str:
    if type_ in broken:
        return broken[type_].message
    return f"{type_} is not one of {', '.join(kinds)}"
