"""The files of a configuration as they were at one moment, and a name for them that says their content."""

import json  # not orjson: names of files may be no text
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from extproc.errors import ConfigError, Place
from extproc.policy import read
from extproc.policy.read import File

HASH_LENGTH: Final = 16
"""Hexadecimal digits: 64 bits tell the configurations of one gateway apart."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files at `path`."""

    path: Path
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """A file that a configuration refers to, as it was. `counts`: its content does, and not only that it is there."""

    counts: bool
    hash: str


def snapshot(path: Path) -> Snapshot:
    """What is at `path` now. Nothing is waited for and nothing raised, whatever is there."""
    return Snapshot(path, read.files(path))


def look(path: Path, *, counts: bool) -> Look:
    """What is at `path` now, as `snapshot` looks."""
    if counts:
        return looked(read.content(path, path))
    return Look(False, _hash([b"+" if os.path.exists(path) else b"-"]))  # noqa: PTH110 - never raises


def looked(content: bytes | ConfigError) -> Look:
    """The look that found this: so what is made from it is not of one moment, and the look of another."""
    return Look(True, _hash([_said(content)]))


def name(found: Snapshot, looks: Mapping[Path, Look]) -> str:
    """The name of a configuration that was made from `found`, with what it refers to."""
    parts = [part for file in found.files for part in (bytes(file.shown), _said(file.content))]
    others = [part for path, seen in sorted(looks.items()) for part in (bytes(path), seen.hash.encode())]
    return _hash([*parts, *others])


def written(found: Snapshot, room: int = 0) -> bytes:
    """As bytes that `reread` reads, in another process. `room`: see `room_of`."""
    files = [(str(file.shown), *_plain(file.content)) for file in found.files]
    return json.dumps({"path": str(found.path), "files": files, "room": room}).encode()


def room_of(data: bytes) -> int:
    """Bytes of the largest body that the processes of what was `written` have room for, whichever of them begins with less."""
    room: int = json.loads(data)["room"]
    return room


def reread(data: bytes) -> Snapshot:
    """What was `written`."""
    found = json.loads(data)
    files = tuple(File(Path(shown), _unplain(shown, content, problem)) for shown, content, problem in found["files"])
    return Snapshot(Path(found["path"]), files)


def _plain(content: bytes | ConfigError) -> tuple[str, str]:
    return ("", content.message) if isinstance(content, ConfigError) else (b64encode(content).decode("ascii"), "")


def _unplain(shown: str, content: str, problem: str) -> bytes | ConfigError:
    return ConfigError(problem, Place(shown)) if problem else b64decode(content)


def _said(content: bytes | ConfigError) -> bytes:
    return b"!" + str(content).encode() if isinstance(content, ConfigError) else b"=" + content


def _hash(parts: Iterable[bytes]) -> str:
    """Over the parts with their lengths, so that no two lists of parts read alike."""
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:HASH_LENGTH]
