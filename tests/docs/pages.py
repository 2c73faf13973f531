"""The pages for users, and their code blocks."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.docs.markdown import REPOSITORY, Block, blocks

PAGES: Final = (
    *sorted(REPOSITORY.glob("*.md")),
    *(page for folder in ("docs", "deploy", "examples") for page in sorted((REPOSITORY / folder).rglob("*.md"))),
)

SHELL: Final = ("sh", "bash", "console")

HERE: Final = re.compile(r"<<-?\s*['\"]?(\w+)")
"""What follows, up to this word, is no command but what one reads."""

ENDS: Final = frozenset({"&&", "||", ";", "|", "&", "(", ")"})
WRITES: Final = frozenset({">", ">>", "<", ">&", "<<", "<<-"})

GRAMMAR: Final = frozenset({"for", "done", "while", "until", "if", "elif", "else", "fi", "{", "}"})
BEFORE: Final = frozenset({"do", "then", "sudo", "exec", "!"})


def found(*languages: str) -> list[Block]:
    """The blocks of these languages on all pages."""
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


def lines(block: Block) -> Iterator[str]:
    """What a shell is given, without what a command reads from here: of a console what follows `$ `, else all. A command that
    goes on in the next line is one.
    """
    begun = until = ""
    for line in block.text.replace("\\\n", " ").splitlines():
        if until:
            until = "" if line.strip() == until else until
            continue
        if block.language == "console" and not begun and line[:2] != "$ ":
            continue
        begun += ("\n" if begun else "") + (line if begun or block.language != "console" else line[2:])
        if _is_whole(begun):
            until = "".join(HERE.findall(begun)[:1])
            yield begun
            begun = ""
    assert not begun, f"{block.place}: a quotation that nothing ends: {begun}"


def _is_whole(line: str) -> bool:
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return False
    return True


def commands(block: Block) -> list[list[str]]:
    """The simple commands of a block, in words: without what joins them, what they write to, and leading assignments."""
    found: list[list[str]] = []
    for line in lines(block):
        found.append([])
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for word in lexer:
            if word in ENDS:
                found.append([])
            else:
                found[-1].append(word)
    return [plain for words in found if (plain := _plain(words))]


def _plain(words: list[str]) -> list[str]:
    kept = [
        word
        for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False)
        if not WRITES & {before, word} and not (word.isdigit() and after in WRITES)
    ]
    while kept and (kept[0] in BEFORE | GRAMMAR - {"for"} or re.match(r"\w+=", kept[0])):
        kept = kept[1:]
    return [] if kept[:1] == ["for"] or kept[1:2] == ["()"] else kept


def functions(page: Path) -> set[str]:
    """The commands that a page makes for itself: `call() { ... }`."""
    return set(re.findall(r"^(\w+)\(\) ", page.read_text(), re.MULTILINE))


def relative(page: Path) -> str:
    """As messages and tables name it."""
    return str(page.relative_to(REPOSITORY))
