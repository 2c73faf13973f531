"""`extproc check`: is this configuration served, and how?"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from extproc.cli.options import AsJson, Config
from extproc.compose import configure
from extproc.policy.describe import status
from extproc.policy.findings import FindingKind

NAME = "check"
NEEDS_ARGUMENTS = True


def command(config: Config, as_json: AsJson = False) -> None:
    """Validate, and print the resolved chains. Exit code 2 if refused, 1 if something is Conflicted or Degraded, else 0."""
    resolved = configure(config)
    found = status(resolved)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        for chain in found["chains"]:
            typer.echo("\n".join(_shown(chain)))
        for finding in resolved.findings:
            typer.echo(finding)
    wrong = any(finding.kind is not FindingKind.NOT_SERVED_HERE for finding in resolved.findings)
    raise typer.Exit(int(wrong))


def _shown(chain: Mapping[str, Any]) -> Iterator[str]:
    """A title, then a line for each extension in the order in which they run."""
    route = f"HTTPRoute {chain['route']}" if chain["route"] else ""
    backend = f"Backend {chain['backend']} ({chain['host']})" if chain["backend"] else ""
    yield " to ".join(part for part in (route, backend) if part) or "hosts without a Backend"
    rows = [_row(extension) for extension in chain["extensions"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(extension: Mapping[str, Any]) -> tuple[str, ...]:
    words = [word for word, said in (("failOpen", extension["failOpen"]), ("preAuth", extension["preAuth"])) if said]
    words += [f"degraded: {extension['degraded']}"] if "degraded" in extension else []
    return (
        extension["phase"],
        str(extension["priority"]),
        extension["name"],
        extension["type"],
        f"by {extension['by']}",
        ", ".join(words),
    )
