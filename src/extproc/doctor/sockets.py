"""Who can connect to the server's Unix sockets? Whoever can is handed the keys. Seen where this file system has them."""

import stat
from collections.abc import Iterator
from glob import escape
from pathlib import Path

from extproc.doctor.finding import Code, Finding
from extproc.policy.names import parse_address


def of_sockets(listen: tuple[str, ...]) -> Iterator[Finding]:
    """The addresses as the server tells them. A worker of several has a socket of its own beside that name."""
    for text in listen:
        if (path := _path(text)) is not None:
            for each in sorted({path, *_workers(path)}):
                yield from _of_socket(each)
            yield from _of_directory(path.parent)


def _of_socket(path: Path) -> Iterator[Finding]:
    mode = _mode(path)
    if stat.S_ISSOCK(mode) and mode & stat.S_IWOTH:
        problem = f"its mode is {stat.S_IMODE(mode):o}: every user of the machine can ask the server for keys"
        yield Finding(Code.SERVER_SOCKET, f"socket {path}", problem, "make it 660, as the server does")


def _of_directory(path: Path) -> Iterator[Finding]:
    mode = _mode(path)
    if mode & (stat.S_IWOTH | stat.S_IWGRP) and not mode & stat.S_ISVTX:
        problem = f"its mode is {stat.S_IMODE(mode):o}: others can put a socket of theirs in the place of the server's"
        yield Finding(Code.SERVER_SOCKET, f"directory {path}", problem, "make it 750 or 700")


def _path(text: str) -> Path | None:
    try:
        return parse_address(text).path
    except ValueError:
        return None


def _workers(path: Path) -> Iterator[Path]:
    try:
        yield from path.parent.glob(f"{escape(path.stem)}-*{escape(path.suffix)}")
    except (OSError, ValueError):  # it is on another machine, or it is not ours to look at
        return


def _mode(path: Path) -> int:
    """Zero where there is nothing: it is on another machine, or it is not ours to look at."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0
