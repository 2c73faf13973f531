"""Members of a request's JSON body, for filters that decide by a few of them. The work is linear, whatever the body is."""

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Final

from extproc.core.message import Request
from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.decoding import Pieces
from extproc_filters.pii.media import Media, read_coding, read_media
from extproc_filters.usage.members import Member, Members, Tree

PIECE: Final = 8 * 1024
"""Bytes that are read between two pauses."""

OBJECT: Final = re.compile(rb"[ \t\r\n]*+\{")
IN_DISGUISE: Final = re.compile(rb"\x00*+(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\x00 \t\r\n]*+\{")
"""An object behind a byte order mark, or in UTF-16 or UTF-32: some servers read it (Python's json.loads does)."""

LONGEST: Final = 31
"""Characters of a name that is known again if each of them is an escape (usage.members.LONGEST_NAME, with its quote)."""

Path = tuple[str, ...]
Scalar = str | int | float | bool | None


class Folded(dict[str, Tree | None]):
    """Asked for a name in any letter case; its own are in lower case. A server in Go takes `Model` for `model`, and of several
    the last one for right.
    """

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.casefold())

    def __getitem__(self, name: str) -> Tree | None:
        return super().__getitem__(name.casefold())


async def read(request: Request, wanted: Sequence[Path], most: int) -> dict[Path, Scalar]:
    """The values of `wanted` that `request` says, if its body is a JSON object, whatever its content type; none, if it is no
    object and does not claim to be JSON. Names are told in lower case and read in any; they have at most LONGEST characters.

    Raises:
        Malformed: it is not what its headers say, or one of `wanted` is no text, number or truth value, or it or what it stands
            in is there twice.
        TooLarge: it has more than `most` bytes when it is decoded.
    """
    body = await _plain(request, most)
    if not OBJECT.match(body):
        if IN_DISGUISE.match(body):
            raise Malformed("the body is JSON, and not in UTF-8 without a mark")
        if body.strip() and read_media(request.headers) is Media.JSON:
            raise Malformed("the body is no JSON object")
        return {}
    found: dict[Path, Member] = {}
    for member in await _members(body, tree_of(wanted)):
        path = tuple(name.casefold() for name in member.path)
        if found.setdefault(path, member) is not member:
            raise Malformed(f"the member {'.'.join(path)} is there twice")
    return {path: _scalar(member) for path, member in found.items() if path in wanted}


def tree_of(wanted: Sequence[Path]) -> Tree:
    """These paths as one tree. Raises: ValueError, if one of them leads into what another one asks for."""
    tree = Folded()
    for name in dict.fromkeys(path[0] for path in wanted):
        deeper = [path[1:] for path in wanted if path[0] == name and len(path) > 1]
        if deeper and (name,) in wanted:
            raise ValueError(f"{name!r} is asked for, and so is a part of it")
        tree[name] = tree_of(deeper) if deeper else None
    return tree


async def _members(body: bytes, tree: Tree) -> list[Member]:
    members = Members(tree)
    found: list[Member] = []
    for start in range(0, len(body), PIECE):
        if start:
            await asyncio.sleep(0)
        found += [member for member in members.feed(body[start : start + PIECE]) if member.path]
    if not members.complete:
        raise Malformed("the body is no complete JSON document")
    return found


def _scalar(member: Member) -> Scalar:
    try:
        value = json.loads(member.text or b"")
    except (ValueError, RecursionError):
        value = []
    if isinstance(value, list | dict):
        raise Malformed(f"the member {'.'.join(member.path)} is no text, number or truth value")
    return value  # type: ignore[no-any-return] # the rest of JSON's values


async def _plain(request: Request, most: int) -> bytes:
    """The body without its content encoding. Raises: Malformed, TooLarge."""
    body, coding = request.body or b"", read_coding(request.headers)
    if coding is None:
        _check_size(len(body), most)
        return body
    decoding, text = Pieces(coding, most), bytearray()
    for piece in decoding.take(body):
        if text:
            await asyncio.sleep(0)
        text += piece
        _check_size(len(text), most)
    decoding.end()
    return bytes(text)


def _check_size(size: int, most: int) -> None:
    """Raises: TooLarge."""
    if size > most:
        raise TooLarge(f"the body is larger than {most} bytes")
