"""The page, as what can be run of it. Each `sh` block is run, the `text` block after it is exactly what comes of it, and each
`yaml` block is an excerpt of the file that its first line names. There is no other kind of block, so that none is only shown.
In a `text` block `...` stands for anything within a line, and alone on a line for any lines.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

FENCE = re.compile(r"(?P<indent>\s*)```(?P<kind>.*)")


class Broken(Exception):
    """The page says what is not so; the sentence begins with the place."""


@dataclass(frozen=True)
class Step:
    """Commands, and what they print; `printed` None is whatever they like. `line` is where they begin, from 1."""

    line: int
    heading: str
    code: str
    printed: str | None = None


@dataclass(frozen=True)
class Excerpt:
    """Lines of a file of the tree."""

    line: int
    path: str
    text: str

    def check(self, tree: Path) -> None:
        """Raises: Broken, if the file has no such lines in a row."""
        file = tree / self.path
        there = file.read_text("utf-8").splitlines() if file.is_file() else []
        wanted = self.text.splitlines()
        if not wanted or not any(there[at : at + len(wanted)] == wanted for at in range(len(there))):
            raise Broken(f"line {self.line}: {self.path} has no such lines")


@dataclass(frozen=True)
class Block:
    line: int
    heading: str
    kind: str
    text: str
    between: str
    """What stands between the block before and this one."""


def read(page: str) -> tuple[list[Step], list[Excerpt]]:
    """Raises: Broken."""
    steps: list[Step] = []
    excerpts: list[Excerpt] = []
    for block in blocks(page):
        match block.kind:
            case "sh":
                steps.append(Step(block.line, block.heading, block.text))
            case "yaml":
                first, _, rest = block.text.partition("\n")
                excerpts.append(Excerpt(block.line, first.removeprefix("# "), rest))
            case "text" if steps and steps[-1].printed is None and not block.between.strip():
                steps[-1] = replace(steps[-1], printed=block.text)
            case kind:
                raise Broken(
                    f"line {block.line}: a block of kind {kind!r} here: write sh, yaml, or text just after what prints it"
                )
    return steps, excerpts


def blocks(page: str) -> Iterator[Block]:
    """Raises: Broken, where a block does not end, or is indented."""
    heading, between, opened, kind = "", "", 0, ""
    inside: list[str] = []
    for number, line in enumerate(page.splitlines(), 1):
        fence = FENCE.fullmatch(line)
        if fence and fence["indent"]:
            raise Broken(f"line {number}: a block begins at the left margin, or it is not run")
        if opened and fence and not fence["kind"]:
            yield Block(opened, heading, kind, "\n".join(inside), between)
            opened, between = 0, ""
        elif opened:
            inside.append(line)
        elif fence:
            opened, kind, inside = number, fence["kind"], []
        else:
            heading = line.lstrip("# ") if line.startswith("#") else heading
            between += line
    if opened:
        raise Broken(f"line {opened}: this block does not end")


def check(step: Step, output: str) -> None:
    """Whether that is what the page says. Raises: Broken."""
    if step.printed is None or re.fullmatch(_pattern(step.printed), _trimmed(output)):
        return
    raise Broken(f"line {step.line}: the page says\n{indented(step.printed)}\nand it is\n{indented(output)}")


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    (nothing)"


def _pattern(printed: str) -> str:
    lines = [r"(?:.*\n)*?" if line.strip() == "..." else _line(line) for line in _trimmed(printed).splitlines()]
    return "".join(lines)


def _line(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("...")) + r"\n"


def _trimmed(text: str) -> str:
    """Without spaces at the ends of lines, and empty lines at the end."""
    return "".join(f"{line.rstrip()}\n" for line in text.rstrip().splitlines())
