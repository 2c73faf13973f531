"""What deploy/Containerfile does, by hand: its steps, the built package, and a folder that is as the image's /app."""

import atexit
import json
import os
import re
import shutil
import sys
import sysconfig
import tarfile
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from tests.deploy.rendered import DEPLOY, ROOT, run

FULL = os.environ.get("EXTPROC_IMAGE") == "full"
"""Whether the dependencies are installed too, as deploy/install.sh does it; else they are those of this environment."""

NOBODY = 65532
"""The image's user."""

Step = tuple[str, str]
"""An instruction of the Containerfile and what comes after it."""


def steps() -> list[list[Step]]:
    """The Containerfile's instructions, by stage; first those before any."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text())
    stages: list[list[Step]] = [[]]
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word and not word.startswith("#"):
            stages += [[]] if word == "FROM" else []
            stages[-1].append((word, rest))
    return stages


def the(stage: list[Step], word: str) -> str:
    (found,) = (rest for name, rest in stage if name == word)
    return found


@cache
def sources() -> Path:
    """A copy of what is built, since a build writes into its folder."""
    folder = Path(os.path.realpath(_temporary())) / "source"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "filters"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignore)
    return folder


@cache
def _temporary() -> str:
    folder = tempfile.mkdtemp(prefix="xp-image-", dir="/tmp")
    atexit.register(shutil.rmtree, folder)
    return folder


@cache
def sdist() -> Path:
    out = sources().parent / "sdist"
    code = f"import setuptools.build_meta as b; b.build_sdist({str(out)!r})"
    run([sys.executable, "-c", code], cwd=sources())
    (found,) = out.glob("*.tar.gz")
    return found


@cache
def wheel() -> Path:
    """Built from the source distribution, which is built from the tree: so both hold everything."""
    folder = sdist().parent / "unpacked"
    with tarfile.open(sdist()) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    out = folder.parent / "wheel"
    code = f"import setuptools.build_meta as b; b.build_wheel({str(out)!r})"
    run([sys.executable, "-c", code], cwd=unpacked)
    (found,) = out.glob("*.whl")
    return found


class Installed:
    """A folder as the image's /app, and how to run what is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        own = () if FULL else (sysconfig.get_path("purelib"),)
        self.environ = {
            **dict(rest.split("=", 1) for rest in the(steps()[2], "ENV").split()),
            "PYTHONPATH": ":".join([str(folder), *own]),
            "PATH": "/usr/bin:/bin",
        }
        # Without `site` no .pth file of this environment leads to the tree.
        self.argv = [python(), *([] if FULL else ["-S"]), *json.loads(the(steps()[2], "ENTRYPOINT"))[1:]]

    def said(self, *args: object) -> str:
        return run([*self.argv, *args], env=self.environ, cwd="/", **identity())


def identity() -> dict[str, Any]:
    """Nobody's, where we are root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 and reachable() else {}


def older() -> str:
    """What the interpreter that is used needs beside this environment: redis asks for async-timeout before Python 3.11.3."""
    version = run([python(), "-c", "import sys; print(sys.version_info >= (3, 11, 3))"]).strip()
    (needed,) = re.findall(r"^async-timeout==\S+", (ROOT / "requirements" / "run.txt").read_text(), re.MULTILINE)
    return "" if version == "True" else str(needed)


@cache
def reachable() -> bool:
    """Whether another user can run a Python of this version, with the packages of this environment."""
    places = [Path(sysconfig.get_path("purelib"))] if not FULL else []
    return _system() is not None and all(
        each.stat().st_mode & 0o001 for path in places for each in (path, *path.parents)
    )


def _system() -> str | None:
    return shutil.which(f"python{sys.version_info.major}.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")


def python() -> str:
    found = _system() if reachable() else None
    return found or str(getattr(sys, "_base_executable", sys.executable))


def packages() -> list[str]:
    """Those of the lock that the image has, on this machine."""
    left_out = re.findall(r'run\.txt "(.*)" without', (DEPLOY / "install.sh").read_text())[0].split()
    locked = re.findall(r"^([a-z0-9][\w.-]*)==", (ROOT / "requirements" / "run.txt").read_text(), re.MULTILINE)
    return [name for name in locked if name not in left_out]


def shared(package: str) -> list[Path]:
    """The shared libraries of a package; none of one that is for another system."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return []
    return [Path(str(path.locate())) for path in files if ".so" in path.suffixes]
