"""The public names with their signatures, as text. `python -m tests.public_api` writes the record anew."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

RECORD: Final = Path(__file__).parent / "public_api.txt"
MODULES: Final = ("extproc", "extproc.errors", "extproc.ports", "extproc.testing")


def described() -> str:
    return "\n".join(line for name in MODULES for line in _module(name)) + "\n"


def _module(name: str) -> Iterator[str]:
    module = import_module(name)
    listed = getattr(module, "__all__", None) or [
        each for each, found in vars(module).items() if getattr(found, "__module__", "") == name and each[0] != "_"
    ]
    yield f"# {name}"
    for each in sorted(listed):
        yield from _member(each, getattr(module, each))


def _member(name: str, found: Any) -> Iterator[str]:
    if inspect.isclass(found):
        bases = ", ".join(base.__name__ for base in found.__bases__ if base is not object)
        yield f"class {name}({bases}){_signature(found) if _has_init(found) else ''}"
        yield from sorted(f"    {line}" for line in _inside(found))
    elif inspect.isfunction(found):
        yield f"def {name}{_signature(found)}"
    else:
        yield f"{name} = {_plain(repr(found))}"


def _has_init(found: type) -> bool:
    return "__init__" in vars(found) and not getattr(found, "_is_protocol", False)


def _inside(found: type) -> Iterator[str]:
    for name, value in vars(found).items():
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            yield f"{name}: property"
        elif inspect.isfunction(inspect.unwrap(getattr(value, "__func__", value))):
            kind = "async def" if inspect.iscoroutinefunction(value) else "def"
            yield f"{kind} {name}{_signature(getattr(value, '__func__', value))}"
        elif isinstance(value, found):
            yield f"{name} = {getattr(value, 'value', value)!r}"
    for name in vars(found).get("__annotations__", {}):
        if not name.startswith("_"):
            yield f"{name}: {_annotation(vars(found)['__annotations__'][name])}"


def _signature(found: Any) -> str:
    return _plain(str(inspect.signature(found)))


def _annotation(found: Any) -> str:
    return _plain(inspect.formatannotation(found))


def _plain(text: str) -> str:
    """Without the modules that names come from, and without what differs from run to run."""
    text = re.sub(r"\b(?:extproc|collections|typing|pathlib|types)(?:\.[a-z_]+)*\.(?=[A-Z])", "", text)
    return re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", text)


if __name__ == "__main__":
    RECORD.write_text(described())
