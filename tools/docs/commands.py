"""The command line as Markdown, from the signatures that typer reads."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from typer.main import get_command
from typer.models import OptionInfo

from extproc.cli.main import app

WORDS = {str: "TEXT", int: "INTEGER", float: "FLOAT", Path: "PATH"}


def commands() -> str:
    """A section for each command, in the order of `extproc --help`."""
    found = [(str(one.name), one.callback) for one in app.registered_commands if not one.hidden]
    parsed = tree()
    return "\n".join(line for name, does in found if does for line in _section(name, does, parsed[name].params)) + "\n"


def tree() -> dict[str, Any]:
    """The commands by their names, as they parse what they are given."""
    group: Any = get_command(app)
    return dict(group.commands)


def _section(name: str, callback: Callable[..., Any], parsed: Iterable[Any]) -> Iterator[str]:
    hints = get_type_hints(callback, include_extras=True)
    opts = {one.name: one.opts for one in parsed}
    given = inspect.signature(callback).parameters.values()
    rows = [row for one in given if (row := _row(one, hints[one.name], opts[one.name]))]
    yield f"## extproc {name}\n"
    yield f"{' '.join(str(callback.__doc__).split())}\n"
    if rows:
        yield "| | value | default | |"
        yield "|---|---|---|---|"
        yield from rows
        yield ""


def _row(parameter: inspect.Parameter, hint: Any, opts: Iterable[str]) -> str:
    """A row of the table; nothing for what is hidden."""
    if get_origin(hint) is not Annotated:
        raise TypeError(f"{parameter.name}: write Annotated[..., typer.Option(...)], as the other commands do")
    plain, info = get_args(hint)
    if info.hidden:
        return ""
    inner = _inner(plain)
    is_list, is_required = get_origin(inner) is list, parameter.default is inspect.Parameter.empty
    value = "" if inner is bool else info.metavar or _word(_inner(get_args(inner)[0]) if is_list else inner)
    if isinstance(info, OptionInfo):
        names = ", ".join(f"`{one}`" for one in opts)
        shown = (f"`{value}`" if value else "") + (", several times" if is_list else "")
    else:
        names, shown = f"`{value}`", ""
    default = "required" if is_required else _default(parameter.default)
    return f"| {names} | {shown} | {default} | {' '.join((info.help or '').split())} |"


def _inner(hint: Any) -> Any:
    """Of `X | None` the X."""
    return (
        next((one for one in get_args(hint) if one is not type(None)), hint) if type(None) in get_args(hint) else hint
    )


def _word(hint: Any) -> str:
    return " or ".join(map(str, get_args(hint))) if get_origin(hint) is Literal else WORDS.get(hint, "VALUE")


def _default(value: object) -> str:
    return "" if value is None or value is False else f"`{value}`"
