"""Whether what requirements/ fixes is what pyproject.toml asks for, without asking an index."""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from tools.lock import OVERRIDES, PROJECT, ROOT, Lock
from tools.pins import Pin, pins


def wanted(lock: Lock, project: dict[str, Any] = PROJECT) -> list[Requirement]:
    """What the lock is made of, as pyproject.toml says now; or its own source."""
    if lock.source:
        return [Requirement(line) for line in _lines(ROOT / lock.source)]
    given = list(project["project"]["dependencies"]) if lock.extras else []
    for name in lock.extras:
        given += project["project"]["optional-dependencies"][name]
    for name in lock.groups:
        given += project["dependency-groups"][name]
    return [Requirement(each) for each in given]


def misfits(lock: Lock, requirements: list[Requirement]) -> list[str]:
    """A sentence for each way in which the lock is not made of these. What packages need themselves is asked of those that are
    installed; of one that is not, nothing is known here.
    """
    fixed = {pin.name: pin for pin in pins(ROOT / lock.path) if pin.here}
    overridden = {canonicalize_name(Requirement(line).name) for line in _lines(ROOT / OVERRIDES)}
    reached: set[tuple[NormalizedName, frozenset[str]]] = set()
    wrong, ahead = [], [(lock.path.name, each) for each in requirements]
    while ahead:
        who, needed = ahead.pop()
        name = canonicalize_name(needed.name)
        pin = fixed.get(name)
        if pin is None or not (name in overridden or needed.specifier.contains(pin.version, prereleases=True)):
            wrong.append(f"{who} needs {needed}, and {lock.path} has {pin.version if pin else 'none'}: `make lock`")
        elif (name, extras := frozenset(needed.extras)) not in reached and not lock.source:
            reached.add((name, extras))
            ahead += [(pin.name, each) for each in _needs(pin, extras)]
    names = {name for name, _ in reached} | {canonicalize_name(each.name) for each in requirements}
    unknown = {name for name in names & fixed.keys() if _installed(fixed[name]) is None}
    if not unknown:
        wrong += [f"{lock.path} has {name}, which nothing needs: `make lock`" for name in sorted(fixed.keys() - names)]
    return wrong


def _needs(pin: Pin, extras: frozenset[str]) -> Iterator[Requirement]:
    found = _installed(pin)
    for line in (found.requires or ()) if found else ():
        needed = Requirement(line)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield needed


def _installed(pin: Pin) -> metadata.Distribution | None:
    try:
        found = metadata.distribution(pin.name)
    except metadata.PackageNotFoundError:
        return None
    return found if found.version == pin.version else None


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line[:1] not in ("", "#")]
