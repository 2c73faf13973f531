"""What the headers say a body is: its media type, and how it is encoded."""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final

from extproc.core.headers import Headers, text
from extproc.errors import Malformed

TYPE: Final = re.compile(r"\s*([!#$&^_.+\w-]+/[!#$&^_.+\w-]+)\s*(?:;(.*))?", re.ASCII)
PARAMETER: Final = re.compile(r'\s*([!#$&^_.+\w-]+)=("(?:[^"\\]|\\.)*"|[^\s;"]*)\s*(?:;|$)', re.ASCII)
"""RFC 9110 section 8.3.1."""

MARK: Final = "\ufeff"
"""A byte order mark: kept, and no part of any document (RFC 8259 section 8.1)."""

UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


class Media(StrEnum):
    """The kinds of bodies that are read."""

    JSON = "json"
    TEXT = "text"
    FORM = "form"


class Coding(StrEnum):
    """The content encodings that are undone (RFC 9110 section 8.4.1)."""

    GZIP = "gzip"
    DEFLATE = "deflate"
    BROTLI = "br"


NO_TYPE: Final = "there are several content types, or one that is no media type"

LONGEST: Final = 200
"""Characters of a content type that is remembered: a caller writes them."""

CODINGS: Final = {"gzip": Coding.GZIP, "x-gzip": Coding.GZIP, "deflate": Coding.DEFLATE, "br": Coding.BROTLI}


def read_media(headers: Headers) -> Media | None:
    """The kind of the body, or None if it is one that is not read: absent, multipart, or anything else.

    Raises:
        Malformed: several content types, one that is no media type, or a charset other than UTF-8.
    """
    values = [text(value) for value in headers.values("content-type")]
    if len(values) > 1 and any(map(str.strip, values)):
        raise Malformed(NO_TYPE)
    written = values[0] if values else ""
    return _read(written) if len(written) <= LONGEST else _read.__wrapped__(written)


@lru_cache(maxsize=256)
def _read(written: str) -> Media | None:
    """The kind that a content type names; those that come are a few. Raises: Malformed."""
    if not written.strip():
        return None
    match = TYPE.fullmatch(written)
    if match is None:
        raise Malformed(NO_TYPE)
    kind = _kind(match[1].lower())
    if kind is not None:
        _check_charset(match[2] or "")
    return kind


def _kind(media_type: str) -> Media | None:
    if media_type == "application/json" or (media_type.endswith("+json") and "/" in media_type):
        return Media.JSON
    if media_type == "application/x-www-form-urlencoded":
        return Media.FORM
    return Media.TEXT if media_type.startswith("text/") else None


def _check_charset(parameters: str) -> None:
    """Two readers must not see two texts, so there is one charset, and it is UTF-8."""
    rest = parameters.strip()
    at = 0
    charsets = []
    while at < len(rest):
        match = PARAMETER.match(rest, at)
        if match is None:
            raise Malformed("the parameters of the content type cannot be read")
        if match[1].lower() == "charset":
            charsets.append(match[2].strip('"').lower())
        at = match.end()
    if len(charsets) > 1 or not UTF8.issuperset(charsets):
        raise Malformed("the charset is not utf-8")


def read_coding(headers: Headers) -> Coding | None:
    """The one content encoding, or None if the body is not encoded.

    Raises:
        Malformed: there are several, or one that is not known.
    """
    named = (headers.get("content-encoding") or "").lower().split(",")
    codings = [coding.strip() for coding in named if coding.strip() not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in CODINGS:
        raise Malformed("the content encoding is not one of gzip, deflate and br")
    return CODINGS[codings[0]]


def is_event_stream(headers: Headers) -> bool:
    """Whether the body is text/event-stream (WHATWG HTML section 9.2), which is always UTF-8."""
    return (headers.get("content-type") or "").partition(";")[0].strip().lower() == "text/event-stream"
