"""Tokens from a file: for the first steps and for tests, never inside a cluster."""

import errno
import os
import re
import stat
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import Field, ValidationError

from extproc.core.peer import Peer
from extproc.errors import ConfigError, Place
from extproc.ports import Review
from extproc.schema import Model

IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"
MOST_BYTES: Final = 8 * 1024 * 1024
BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What a bearer token may be made of (RFC 6750 section 2.1)."""
ODD: Final = (ValueError, AttributeError, RecursionError)
"""What the parser raises for `0x_` and `2026-13-45`, for `!!timestamp x`, and for lists in lists in lists."""


class StaticToken(Model):
    """One token, who it is, and what it is good for. An empty `audiences` is good for no audience that somebody asks for."""

    token: Annotated[str, Field(min_length=1, max_length=16384, repr=False)]
    username: Annotated[str, Field(min_length=1)]
    uid: str = ""
    groups: list[str] = Field(default_factory=list)
    audiences: list[str] = Field(default_factory=list)


class TokenFile(Model):
    tokens: Annotated[list[StaticToken], Field(min_length=1)]


class StaticTokens:
    """A `TokenReviewer`. It keeps hashes only, and finds a token by its hash: no comparison tells how far a guess was right."""

    def __init__(self, path: Path, environ: Mapping[str, str] = os.environ, raw: bytes | None = None) -> None:
        """Reads the file at `path`; or `raw`, which was read there.

        Raises:
            ConfigError: this is inside a cluster, or the file is not there or not what it should be. No token is in the text.
        """
        if environ.get(IN_CLUSTER):
            raise ConfigError(
                "static tokens are refused inside a cluster: they cannot be revoked. Use {kubernetes: {}}",
                Place(field="config.reviewer.static"),
            )
        self._path = path
        self._known: dict[bytes, tuple[Peer, frozenset[str]]] = {}
        for index, entry in enumerate(_parse(path, raw).tokens):
            self._add(index, entry)

    def __repr__(self) -> str:
        return f"StaticTokens({str(self._path)!r})"

    async def review(self, token: str, audiences: Sequence[str]) -> Review:
        known = self._known.get(_key(token))
        if known is None:
            return Review(None)
        peer, good_for = known
        return Review(peer, tuple(audience for audience in audiences if audience in good_for))

    def _add(self, index: int, entry: StaticToken) -> None:
        place = Place(file=str(self._path), field=f"tokens[{index}].token")
        if not BEARER.fullmatch(entry.token):
            raise ConfigError("this is no bearer token: use letters, digits and -._~+/ only, with = at the end", place)
        key = _key(entry.token)
        if key in self._known:
            raise ConfigError("this token is there twice: one token is one caller", place)
        self._known[key] = Peer(entry.username, entry.uid, tuple(entry.groups)), frozenset(entry.audiences)


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is there twice is an error, not a choice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is there twice", node.value[index][0].start_mark
                )
        return super().construct_mapping(node, deep)


def _contents(path: Path) -> bytes:
    """A pipe in the place of the file is not waited for. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            raw = file.read(MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(raw) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MOST_BYTES} bytes")
    return raw


def _parse(path: Path, raw: bytes | None) -> TokenFile:
    try:
        document = yaml.load(_contents(path) if raw is None else raw, _Loader)  # noqa: S506 - a SafeLoader
        return TokenFile.model_validate(document)
    except OSError as error:
        raise ConfigError(
            f"the token file {path} cannot be read: {error.strerror}", Place(field="config.reviewer.static.path")
        ) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = Place(file=str(path), field=_field(first["loc"]))
        raise ConfigError(
            f"{first['msg']}. Each of `tokens` has token and username; uid, groups, audiences", place
        ) from None
    except (yaml.YAMLError, *ODD) as error:
        mark = getattr(error, "problem_mark", None)
        place = Place(file=str(path), line=mark.line + 1 if mark else 0)
        # The parser's own words may quote the file.
        raise ConfigError("this is not YAML, or a key is there twice, or a value needs quotes", place) from None


def _field(location: Sequence[int | str]) -> str:
    """`tokens[0].username`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _key(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
