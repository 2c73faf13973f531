"""Fix every dependency, the indirect ones too, to one version and the hashes of its files:
`python -m tools.lock [--upgrade]`.

Each file of requirements/ is what one purpose needs, on every platform and each Python from 3.11 on. uv resolves them: it does
that for all platforms at once, and installs nothing. What is fixed already stays, unless --upgrade asks for the newest. No file
names an index: they work with any that has these files.
"""

import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = Path("requirements")
OVERRIDES: Final = FOLDER / "overrides.in"
"""Versions that count instead of what a dependency asks for, each with its reason."""

PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODEL: Final = "presidio"
"""The extra that brings a model of a language: it has a lock of its own."""

SERVING: Final = tuple(name for name in PROJECT["project"]["optional-dependencies"] if name != MODEL)
"""The extras of a gateway."""


@dataclass(frozen=True)
class Lock:
    """What a file is made of: our own dependencies with `extras`, `groups` of others; or just what `source` asks for."""

    name: str
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    source: Path | None = None

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.txt"


DEV: Final = Lock("dev", SERVING, ("dev", "audit"))
"""The first: what it fixes counts for the others too, so that what is tested is what is deployed."""

LOCKS: Final = (
    DEV,
    Lock("run", SERVING),
    Lock(MODEL, (*SERVING, MODEL)),
    Lock("docs", groups=("docs",)),
    Lock("xds-protos", source=FOLDER / "xds-protos.in"),
)


def command(lock: Lock, *, upgrade: bool) -> list[str]:
    """What makes it, in the project's folder."""
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", f"--output-file={lock.path}"]
    uv += ["--universal", "--python-version=3.11", "--generate-hashes", "--custom-compile-command=make lock"]
    uv += [f"--overrides={OVERRIDES}"] if lock.extras else []
    uv += [f"--constraints={DEV.path}"] if lock is not DEV else []
    uv += ["--upgrade"] if upgrade else []
    if lock.source:
        return [*uv, "--no-deps", str(lock.source)]
    uv += [f"--extra={name}" for name in lock.extras] + [f"--group={name}" for name in lock.groups]
    return [*uv, "pyproject.toml"] if lock.extras else uv


def main() -> int:
    """uv's exit code, of the first that cannot be made."""
    for lock in LOCKS:
        argv = command(lock, upgrade="--upgrade" in sys.argv[1:])
        if failed := subprocess.run(argv, cwd=ROOT, check=False).returncode:  # noqa: S603 - uv's words, and ours
            return failed
        sys.stderr.write(f"{lock.path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
