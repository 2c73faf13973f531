"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path,
    typer.Option("--config", metavar="PATH", help="A YAML file, or a directory of them.", exists=True, readable=True),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]
