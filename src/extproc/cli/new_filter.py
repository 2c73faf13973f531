"""`extproc new-filter`: a package with a filter in it, to begin with."""

import builtins
import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from shlex import quote
from string import Template
from typing import Annotated, Final

import typer

from extproc import __version__
from extproc.errors import ConfigError, Place
from extproc.policy.names import KIND

NAME = "new-filter"
NEEDS_ARGUMENTS = True

PACKAGE: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
OURS: Final = frozenset({"extproc", "extproc_filters"})
TAKEN: Final = frozenset(
    {
        "Answer", "Any", "CONFIG", "ClassVar", "Continue", "Exchange", "FilterContext", "JSON", "Malformed", "Model", "Phase",
        "Respond", "Verdict",
    }
)  # fmt: skip
"""What the filter's module and its tests call something else."""

KIND_HELP: Final = "What configurations will call it; by default after NAME, of example.com."

PLACES: Final = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "src/{module}/__init__.py": "init.py",
    "src/{module}/filter.py": "filter.py",
    "src/{module}/py.typed": "",
    "tests/test_filter.py": "test_filter.py",
}
"""Where each file goes, and the template that it is made from."""


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the package: lower case, with hyphens.")],
    type_: Annotated[str | None, typer.Option("--type", metavar="DOMAIN/KIND:VERSION", help=KIND_HELP)] = None,
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="The folder that it is made in.")] = Path(),
) -> None:
    """Write a package with a filter, its tests and its entry point; it works at once."""
    words = _words(name, type_)
    root = into / name
    _write(root, words)
    typer.echo(f"{root} is there. Next:")
    python = quote(sys.executable)  # the one that has extproc, whether or not its environment is the active one
    typer.echo(f"  cd {quote(str(root))} && {python} -m pip install -e . && {python} -m pytest")
    typer.echo(f"  {python} -m extproc catalog --schema {words['type']}")


def _words(name: str, type_: str | None) -> dict[str, str]:
    """What the templates are filled with. Raises: ConfigError."""
    module = name.replace("-", "_")
    if not PACKAGE.fullmatch(name) or len(name) > 64:
        message = f"{name!r} is no name for a package: write lower-case letters, digits and inner hyphens, such as acme-models"
        raise ConfigError(message, Place(field="NAME"))
    if keyword.iskeyword(module) or module in OURS or module in sys.stdlib_module_names:
        raise ConfigError(
            f"{module!r} already means something in Python or here: write another one", Place(field="NAME")
        )
    kind = "".join(part.capitalize() for part in name.split("-"))
    type_ = type_ or f"example.com/{kind}:v1"
    match = KIND.fullmatch(type_)
    if match is None or not match["domain"]:
        message = (
            f"{type_!r} is no type of other people's: write domain/Kind:version, such as acme.example.com/Models:v1"
        )
        raise ConfigError(message, Place(field="--type"))
    kind = type_.rpartition("/")[2].partition(":")[0]
    if keyword.iskeyword(kind) or hasattr(builtins, kind) or kind in TAKEN:
        message = f"{kind!r} already means something in Python or here: call the kind otherwise, with --type"
        raise ConfigError(message, Place(field="--type"))
    version = __version__.rpartition(".")[0]
    return {
        "name": name,
        "module": module,
        "kind": kind,
        "type": type_,
        "extension": name[:63].rstrip("-"),
        "version": version,
    }


def _write(root: Path, words: dict[str, str]) -> None:
    """Everything, into a folder that is not there yet. Raises: ConfigError."""
    templates = files("extproc") / "templates"
    try:
        root.mkdir(parents=True)
        for place, template in PLACES.items():
            path = root / place.format(module=words["module"])
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (templates / f"{template}.tmpl").read_text("utf-8") if template else ""
            path.write_text(Template(text).substitute(words), "utf-8")
    except FileExistsError:
        raise ConfigError(f"{root} is already there, and nothing is overwritten: name another one") from None
    except OSError as error:
        raise ConfigError(f"{error.filename or root} cannot be made ({error.strerror})") from error
