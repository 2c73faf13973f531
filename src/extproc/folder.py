"""A folder of a process's own, for what it tells its workers."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from extproc.errors import ConfigError

PREFIX: Final = "extproc-"
LOCK: Final = "extproc.lock"
"""A file that whoever made the folder holds locked, for as long as it lives. Nobody else's folder has that name in it."""

LONGEST: Final = 80
"""Bytes of a folder's name, so that Linux takes the names of the sockets in it (unix(7): 107 bytes)."""


@contextmanager
def own_folder() -> Iterator[Path]:
    """One that nobody else can read, until the end of this. What processes that were killed have left behind goes first: a pod
    that is killed over and over would fill its disk with it.

    Raises:
        ConfigError: there is no place for it.
    """
    try:
        place = Path(tempfile.gettempdir())
        _sweep(place)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as error:
        what = f"no folder can be made for what the processes tell each other ({error.strerror})"
        raise ConfigError(f"{what}: in a pod mount an emptyDir at /tmp, or set TMPDIR") from error
    try:
        with _locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # its processes remove their sockets at the same time


def check_sockets(folder: Path) -> None:
    """Whether there can be sockets in `folder`. Raises: ConfigError."""
    if len(os.fsencode(folder)) > LONGEST:
        raise ConfigError(f"{folder.parent} has too long a name for sockets in it: set TMPDIR to a shorter one")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The lock of a folder. It has its name once it is held: without one nobody takes the folder for left behind."""
    new = folder / f"{LOCK}.new"
    held = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        new.rename(folder / LOCK)
        yield
    finally:
        os.close(held)


def _sweep(place: Path) -> None:
    """Remove folders of this user's whose makers are gone. Whatever cannot be looked at is somebody else's affair."""
    for folder in place.glob(f"{PREFIX}*"):
        try:
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                _remove(folder)
        except OSError:
            continue  # it is in use, or goes at this moment, or has no lock


def _remove(folder: Path) -> None:
    """Raises: OSError, if somebody holds its lock, or nobody ever did."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
