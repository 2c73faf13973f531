"""The command line: one function a command, each in a file of its own.

Exit codes: 0 done; 1 it works but something is wrong (or a process ended); 2 the configuration or the call is refused.
"""

import sys

import typer

from extproc import __version__
from extproc.cli import catalog, check, doctor, envoy, explain, new_filter, run, scan, serve
from extproc.errors import ConfigError, Refused

app = typer.Typer(
    name="extproc",
    help="Egress policy for Envoy: authenticate, limit, inject credentials, redact; in a chain with priorities.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain lines, which fit every terminal, and can be searched and copied: paths are not broken
    pretty_exceptions_enable=False,
)

for command in (serve, check, explain, envoy, run, doctor, catalog, scan, new_filter):
    first = (command.command.__doc__ or "").split(". ")[0].rstrip(".")
    app.command(name=command.NAME, short_help=f"{first}.", no_args_is_help=command.NEEDS_ARGUMENTS)(command.command)


@app.callback(invoke_without_command=True)
def _version(
    *, version: bool = typer.Option(False, "--version", help="Print the version and end.", is_eager=True)
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run a command; a refused configuration is told in its own sentences and ends with exit code 2."""
    try:
        app()
    except (Refused, ConfigError) as error:
        errors = error.errors if isinstance(error, Refused) else (error,)
        for each in errors:
            shown = "".join(one if one.isprintable() else "?" for one in str(each))  # names of files may be anything
            sys.stderr.write(f"error: {shown}\n")
        sys.exit(2)
