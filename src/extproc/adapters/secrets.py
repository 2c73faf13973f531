"""Secrets from files and from the environment. A value is sealed where it is read: no text of this module ever holds one."""

import os
import re
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from extproc.core.measure import CacheUse
from extproc.core.secret import Secret, seal
from extproc.errors import ConfigError, Place, Unavailable

MOST_BYTES: Final = 64 * 1024
CACHE_SECONDS: Final = 10.0
"""How long a value, or that there is none, is remembered: a rotated key is picked up within this time."""
CACHED: Final = 10_000

SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
"""One name below the root. It begins with no dot, so neither `..` nor a hidden file can be named."""

PRINTABLE: Final = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


class FileSecrets:
    """A `SecretStore`: `<root>/<path>/<field>`, or `<root>/<path>` without a field. Links may lead around below the root
    (Kubernetes mounts secrets so), never out of it.
    """

    def __init__(self, root: Path, backends: Iterable[str], now: Callable[[], float]) -> None:
        """Raises: ConfigError, if `root` is no directory."""
        if not os.path.isdir(root):  # noqa: PTH112 - where nobody may look there is none; Path.is_dir raises
            raise ConfigError(f"{str(root)!r} is not a directory", Place(field="file.root"))
        self.backends = frozenset(backends)
        self._root = root
        self._now = now
        self._cache: OrderedDict[tuple[str, ...], tuple[float, Secret | None]] = OrderedDict()
        self.cache = CacheUse()

    def __repr__(self) -> str:
        return f"FileSecrets({str(self._root)!r})"

    async def read(self, path: Sequence[str], field: str) -> Secret | None:
        """As the port says. A small local file: it is read at once. What cannot name a file below the root is None."""
        names = (*path, field) if field else tuple(path)
        if not names or not all(map(SEGMENT.fullmatch, names)):
            return None
        now = self._now()
        known = self._cache.get(names)
        if known is not None and now < known[0] <= now + CACHE_SECONDS:
            self._cache.move_to_end(names)
            self.cache.hits += 1
            return known[1]
        self.cache.misses += 1
        secret = self._read(names)
        self._cache[names] = now + CACHE_SECONDS, secret
        self._cache.move_to_end(names)
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return secret

    def _read(self, names: tuple[str, ...], *, again: bool = True) -> Secret | None:
        place = "/".join(names)
        try:
            raw = _contents(self._root, names)
        except (FileNotFoundError, NotADirectoryError):
            # A mounted Secret may be swapped between following its links and opening what they led to.
            return self._read(names, again=False) if again else None
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError to pathlib
            problem = error.strerror if isinstance(error, OSError) else "links that lead in a circle"
            raise Unavailable(f"secret {place}: {problem}") from None
        return None if raw is None else sealed(raw, place, self.backends)


class EnvSecrets:
    """A `SecretStore`: variables of the environment. The path is the name, and only a listed one is ever looked up."""

    def __init__(
        self,
        names: Iterable[str],
        backends: Iterable[str],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.backends = frozenset(backends)
        self._names = frozenset(names)
        self._environ = environ

    def __repr__(self) -> str:
        return f"EnvSecrets({sorted(self._names)})"

    async def read(self, path: Sequence[str], field: str) -> Secret | None:  # noqa: ARG002 - a variable has no fields
        name = path[0] if len(path) == 1 else ""
        if name not in self._names:
            return None
        value = self._environ.get(name)
        return None if value is None else sealed(value.encode("utf-8", "surrogateescape"), name, self.backends)


def sealed(raw: bytes, place: str, backends: frozenset[str]) -> Secret | None:
    """`raw` without one newline at its end, as a secret for `backends`; None if that is nothing.

    Raises:
        Unavailable: it is no header value of printable ASCII. The text names `place` only.
    """
    value = raw.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        return None
    if not PRINTABLE.fullmatch(value):
        raise Unavailable(f"secret {place} is not one line of printable ASCII without white space at its ends")
    return seal(value, backends)


def _contents(root: Path, names: tuple[str, ...]) -> bytes | None:
    """The bytes of the file, or None if it is not below `root` once links are followed.

    Raises: OSError, Unavailable.
    """
    found = root.joinpath(*names).resolve(strict=True)
    if not found.is_relative_to(root.resolve(strict=True)):
        return None
    # What was resolved is opened with no further link; not blocking, should it be a pipe.
    descriptor = os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unavailable(f"secret {'/'.join(names)} is not a regular file")
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise Unavailable(f"secret {'/'.join(names)} is larger than {MOST_BYTES} bytes")
    return raw
