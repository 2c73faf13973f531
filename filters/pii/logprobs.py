"""The probabilities of tokens in an answer: they say its text once more, token by token and byte by byte, where no scanner
finds a value that is longer than a token.
"""

from typing import Final

import orjson

from extproc_filters.pii.edits import Edit, splice
from extproc_filters.pii.jsontext import CLOSE, KEY, OPEN, TOKEN
from extproc_filters.pii.work import STEPS, Work

NAMES: Final = frozenset({"logprobs", "logprobsResult"})
"""OpenAI's in all of its APIs, and Gemini's."""

SIGNS: Final = ("logprobs", "\\u")
"""One of these is in a document that has such a name, escaped or not."""


def without_logprobs(text: str) -> Work[str]:
    """`text`, a JSON document, with all such objects null and all such lists empty, as in an answer that was asked for none."""
    if not any(sign in text for sign in SIGNS):
        return text
    edits: list[Edit] = []
    named, depth, begin = False, 0, -1
    for number, match in enumerate(TOKEN.finditer(text), 1):
        kind = match.lastindex
        if begin < 0:
            if named and kind == OPEN:
                begin = match.start()
            named = kind == KEY and _unescaped(match[1]) in NAMES
        if begin >= 0:
            depth += (kind == OPEN) - (kind == CLOSE)
            if not depth:
                edits.append(Edit(begin, match.end(), "null" if text[begin] == "{" else "[]"))
                begin = -1
        if number % STEPS == 0:
            yield
    return splice(text, edits)


def _unescaped(name: str) -> str:
    return str(orjson.loads(f'"{name}"')) if "\\" in name else name
