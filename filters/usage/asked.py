"""What a request asks for: how many tokens it may cost, and whether its stream will tell what it did cost."""

import json
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import orjson

from extproc.core.message import Request
from extproc.errors import Malformed, TooLarge
from extproc_filters.payload import Folded
from extproc_filters.pii.decoding import Pieces
from extproc_filters.pii.media import Coding
from extproc_filters.usage.counts import MOST
from extproc_filters.usage.inflow import BITE
from extproc_filters.usage.members import Member, Members, Tree

TREE: Final[Tree] = Folded(
    {
        "max_tokens": None,
        "max_completion_tokens": None,
        "max_output_tokens": None,
        "n": None,
        "best_of": None,
        "generationconfig": Folded({"maxoutputtokens": None, "candidatecount": None}),
        "generation_config": Folded({"max_output_tokens": None, "candidate_count": None}),
        "inferenceconfig": Folded({"maxtokens": None}),
        "stream": None,
        "stream_options": Folded({"include_usage": None}),
    }
)
"""OpenAI's and Anthropic's names; Gemini's, whose JSON knows both spellings; Bedrock's. In any letter case, as servers in Go
read them.
"""

OUTPUT: Final = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens", "maxoutputtokens", "maxtokens"})
NUMBER: Final = re.compile(rb'("?)([0-9]+)(\.[0-9]+)?([eE][+-]?[0-9]+)?\1')
"""A number that is not negative, however it is written: servers take `1e6`, `100.0` and `"100"` for whole numbers too."""

OBJECT: Final = re.compile(rb"[ \t\r\n]*+\{")
EMPTY: Final = re.compile(rb"[ \t\r\n]*+\}")

MANY: Final = 256
"""Members that are looked at; a request with more of them repeats itself."""

TIMES: Final = frozenset({"n", "best_of", "candidatecount", "candidate_count"})

TRUE: Final = re.compile(rb'(?i)true|1(?:\.0+)?|"(?:true|1|on|yes|y|t)"')
FALSE: Final = re.compile(rb'(?i)false|null|0(?:\.0+)?|"(?:false|0|off|no|n|f)"')
"""What lenient servers take for true and for false (Pydantic does)."""

MARK: Final = b"\xef\xbb\xbf"
"""A byte order mark: no part of the document, and some servers read on behind it."""

STREAM, OPTIONS, INCLUDE = ("stream",), ("stream_options",), ("stream_options", "include_usage")

PIECE: Final = 8 * 1024
"""Bytes that are read between two pauses: a hostile document is ten times as much work as an ordinary one."""

CHECKED: Final = 64 * 1024
"""Bytes of a document that is checked in earnest before it is edited; a larger one is edited by its structure alone."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Put `text` in the place of what stands from `start` to `end`."""

    start: int
    end: int
    text: bytes

    def apply(self, body: bytes) -> bytes:
        return body[: self.start] + self.text + body[self.end :]


@dataclass(frozen=True, slots=True)
class Asked:
    """`output` is the most tokens of all answers that are asked for together, None if the request does not say. `include_usage`
    makes its stream tell the usage; None if it does so already, or there is no stream. `ambiguous`: two servers could read in
    two ways whether it does.
    """

    output: int | None = None
    times: int = 1
    include_usage: Edit | None = None
    ambiguous: bool = False


NOTHING: Final = Asked()

Pause = Callable[[], Awaitable[None]]
"""Lets others run."""


def makes_text(request: Request) -> bool:
    """Whether the answer has tokens of its own: embeddings have none."""
    path = request.path_only.rstrip("/").lower()
    return not path.endswith(("/embeddings", ":embedcontent", ":batchembedcontents"))


def completes(request: Request) -> bool:
    """Whether this is OpenAI's chat completions or completions, by the path: others refuse `stream_options`."""
    return request.path_only.rstrip("/").lower().endswith("/completions")


async def read_asked(body: bytes, pause: Pause) -> Asked:
    """What `body`, a JSON object, asks for; of anything else nothing is known. UTF-16, which some servers read, has zeros."""
    nothing = Asked(ambiguous=b"\0" in body)
    mark = len(MARK) if body.startswith(MARK) else 0
    members = Members(TREE)
    found: list[Member] = []
    try:
        for start in range(mark, len(body), PIECE):
            if start > mark:
                await pause()
            found += members.feed(body[start : start + PIECE])
            if len(found) > MANY:
                return Asked(ambiguous=True)
    except Malformed:
        return nothing
    if not members.complete or not OBJECT.match(body, mark):
        return nothing
    found = [Member(_folded(each.path), each.text, each.start + mark, each.end + mark) for each in found]
    edit, ambiguous = _include_usage(body, found)
    most = max(_numbers(found, OUTPUT), default=None)
    return Asked(most, max(_numbers(found, TIMES), default=1), edit, ambiguous)


async def decoded(body: bytes, coding: Coding | None, most: int, pause: Pause) -> bytes | None:
    """`body` without its content encoding; None if it has another, or is larger than `most` bytes."""
    if coding is None:
        return body if len(body) <= most else None
    text = bytearray()
    decoding = Pieces(coding, min(most, BITE))
    try:
        for piece in decoding.take(body):
            if text and (len(text) + len(piece)) // CHECKED > len(text) // CHECKED:
                await pause()
            text += piece
            if len(text) > most:
                return None
        decoding.end()
    except (Malformed, TooLarge):
        return None
    return bytes(text)


def _numbers(found: list[Member], names: frozenset[str]) -> list[int]:
    """All numbers of these names: of a member that is there twice, who knows which one counts."""
    texts = [member.text for member in found if member.path and member.path[-1] in names and member.text]
    found_ = [float(text.strip(b'"')) for text in texts if NUMBER.fullmatch(text)]
    return [math.ceil(min(number, MOST)) for number in found_ if number]


def _folded(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.casefold() for name in path)


def _include_usage(body: bytes, found: list[Member]) -> tuple[Edit | None, bool]:
    """What makes the stream tell its usage; and whether a member is there twice, so that nothing is certain."""
    streams, options, included = (
        [member for member in found if member.path == path] for path in (STREAM, OPTIONS, INCLUDE)
    )
    if not any(TRUE.fullmatch(member.text or b"") for member in streams):
        return None, False
    if max(len(streams), len(options), len(included)) > 1:
        return None, True
    edit = _edit(body, found[0], *options, *included)
    return edit if edit and _is_json(body) else None, False


def _edit(body: bytes, root: Member, options: Member | None = None, included: Member | None = None) -> Edit | None:
    if options is None:
        return Edit(root.end, root.end, b'"stream_options":{"include_usage":true},')
    if options.text == b"null":
        return Edit(options.start, options.end, b'{"include_usage":true}')
    if options.text != b"{":
        return None
    if included is None:
        comma = b"" if EMPTY.match(body, options.end) else b","
        return Edit(options.end, options.end, b'"include_usage":true' + comma)
    told = included.text is not None and FALSE.fullmatch(included.text)
    return Edit(included.start, included.end, b"true") if told else None


def _is_json(body: bytes) -> bool:
    if len(body) > CHECKED:
        return True
    text = body.removeprefix(MARK)
    try:
        orjson.loads(text)
    except ValueError:
        return _is_lenient_json(text)
    return True


def _is_lenient_json(text: bytes) -> bool:
    """Whether Python reads it, as many servers do: NaN, numbers that are too large, half a surrogate pair."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
