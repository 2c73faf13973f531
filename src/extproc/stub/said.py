"""What the stub says: the same for the same request, in whatever dialect it is asked."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from extproc.stub.wishes import NONE, Wishes

MODEL: Final = "stub-1"
HELLO: Final = "Hello from the stub."
ECHO: Final = "echo"
"""A model whose name begins so says what the last message said; every other one says hello."""
CREATED: Final = 1_700_000_000
"""Unix seconds; fixed, as everything here."""
WORD: Final = re.compile(r"\s*\S+|\s+\Z")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    schema: Json


@dataclass(frozen=True, slots=True)
class Question:
    """A request, whatever its dialect: the text of its last message, all of its text, and the tools it offers."""

    model: str
    last: str
    everything: str
    tools: Sequence[Tool] = ()
    choices: int = 1


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool; `arguments` is a JSON object as text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, whatever its dialect. `usage`: input and output tokens as claimed, or nothing where none are to be."""

    model: str
    text: str
    calls: tuple[Call, ...]
    choices: int
    usage: tuple[Any, Any] | None
    delta: int | None

    def pieces(self, text: str) -> Iterator[str]:
        """The text as deltas: of so many characters as were asked for, else of one word."""
        if self.delta is None:
            yield from WORD.findall(text)
        else:
            yield from (text[at : at + self.delta] for at in range(0, len(text), self.delta))

    @property
    def total(self) -> Any:
        """The sum of the usage; where that makes no sense, what was claimed of the input."""
        given, made = self.usage or (0, 0)
        return given + made if isinstance(given, int | float) and isinstance(made, int | float) else given


def say(question: Question, wishes: Wishes) -> Said:
    """The answer: one call of each tool offered, else a text."""
    text = question.last if question.model.startswith(ECHO) else HELLO
    calls = tuple(_call(number, tool, text) for number, tool in enumerate(question.tools, 1))
    usage = wishes.usage or (tokens(question.everything), tokens(text) * question.choices)
    claimed = None if usage == NONE or isinstance(usage, str) else usage
    return Said(question.model or MODEL, text, calls, question.choices, claimed, wishes.delta)


def tokens(text: str) -> int:
    """One for each four characters."""
    return max(1, -(-len(text) // 4))


def _call(number: int, tool: Tool, text: str) -> Call:
    """The tool's first parameter is what would have been said."""
    properties = tool.schema.get("properties")
    parameter = next(iter(properties), "text") if isinstance(properties, Mapping) else "text"
    return Call(f"call_{number}", tool.name, orjson.dumps({str(parameter): text}).decode())


def text_of(content: object) -> str:
    """All text of a message, of its parts, or of a list of either, in any dialect."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(map(text_of, content))
    if isinstance(content, Mapping):
        return "".join(
            text_of(content[name]) for name in ("text", "content", "parts", "output", "response") if name in content
        )
    return ""


def mappings(value: object) -> list[Json]:
    """The objects of a JSON list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def mapping(value: object) -> Json:
    """A JSON object, or an empty one."""
    return value if isinstance(value, Mapping) else {}
