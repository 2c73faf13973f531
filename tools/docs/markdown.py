"""Just enough of Markdown: its code blocks, its links, and the anchors of its headings."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]

FENCE: Final = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<info>[^`]*)$")
LINK: Final = re.compile(r"(?<=\]\()(?P<target>[^()\s]+)(?=\))")
HEADING: Final = re.compile(r"#{1,6} +(.+?) *$")
CODE_SPAN: Final = re.compile(r"(`+)(?:.*?[^`])??\1(?!`)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block: the file, the line of its fence (from 1), its language, and what is in it."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """For messages and test ids."""
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced code blocks of a page, in their order; an indented one without its indentation."""
    inside: list[str] = []
    opened: re.Match[str] | None = None
    start = 0
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None:
            opened, start, inside = fence, number, []
        elif fence and fence["marks"].startswith(opened["marks"]) and not fence["info"].strip():
            language = (opened["info"].split() or [""])[0]
            yield Block(page, start, language, "".join(f"{one}\n" for one in inside))
            opened = None
        else:
            inside.append(line.removeprefix(opened["indent"]))


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """`text` with `change` made to each line that is in no fenced block; code spans are hidden from it."""
    return "".join(line if is_code else _outside_spans(line, change) for line, is_code in _lines(text))


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is of a fenced block."""
    opened = ""
    for line in text.splitlines(keepends=True):
        fence = FENCE.match(line.rstrip("\n"))
        if fence and not (opened and not fence["marks"].startswith(opened)):
            opened = "" if opened else fence["marks"]
            yield line, True
        else:
            yield line, bool(opened)


def _outside_spans(line: str, change: Callable[[str], str]) -> str:
    spans: list[str] = []

    def hide(span: re.Match[str]) -> str:
        spans.append(span[0])
        return f"\0{len(spans) - 1}\0"

    hidden = CODE_SPAN.sub(hide, line)
    return re.sub("\0(\\d+)\0", lambda mark: spans[int(mark[1])], change(hidden))


def links(page: Path) -> list[str]:
    """The targets of its links, as written."""
    found: list[str] = []

    def look(text: str) -> str:
        found.extend(LINK.findall(text))
        return text

    outside_code(page.read_text(), look)
    return found


def anchors(page: Path) -> set[str]:
    """The anchors of its headings."""
    headings = (HEADING.match(line) for line, is_code in _lines(page.read_text()) if not is_code)
    return {slug(heading[1]) for heading in headings if heading}


def slug(heading: str) -> str:
    """As GitHub and MkDocs make an anchor: `What is QoSController:v1?` is `what-is-qoscontrollerv1`."""
    return re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
