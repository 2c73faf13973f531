"""Every command that a page shows exists, with its options, files and targets; what is executed is in test_start.py."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, SHELL, commands, found, functions, relative
from tools.docs.commands import tree
from tools.docs.markdown import REPOSITORY, Block

CONFIG = REPOSITORY / "examples" / "quickstart" / "extproc.yaml"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())

EXECUTED = {
    "README.md": "by tests/e2e/test_quickstart.py",
    "docs/start.md": "by tests/docs/test_start.py",
    "docs/walkthrough.md": "by tests/e2e/test_walkthrough.py",
    "examples/quickstart/README.md": "by tests/e2e/test_quickstart.py",
    "examples/real/README.md": "by tests/e2e/test_real.py",
}
"""Pages whose calls of a gateway are executed, and where."""

UTILITIES = frozenset(
    shlex.split(
        "[ awk base64 cat cd chmod cp curl cut diff echo export false find grep head jq kill ls mkdir mktemp mv printf rm sed"
        " sh sleep sort tail tee test touch tr true uniq wc"
    )
)
"""What every system has: nothing of ours is in question."""

ELSEWHERE = {
    "bao": "a Vault of yours; tests/e2e/test_walkthrough.py does the same with a real OpenBao",
    "docker": "needs a daemon; tests/deploy reads the Containerfile, and installs what it installs",
    "helm": "needs a cluster; tests/deploy renders the chart and validates what comes out",
    "kubectl": "needs a cluster; its files are looked for here, and tests/deploy validates them",
    "kustomize": "tests/deploy builds the overlays",
    "mypy": "a tool of yours",
    "openssl": "keys of yours",
    "ruff": "a tool of yours",
    "vault": "a Vault of yours; tests/e2e/test_walkthrough.py does the same with a real OpenBao",
}
"""Commands that are not run from the pages, and why; the files that they name are looked for all the same."""

SHOWN = [(block, words) for block in found(*SHELL) for words in commands(block)]


def test_every_block_says_what_it_is() -> None:
    """One without a language is a picture or an output: no command hides in it."""
    names = {"extproc", "make", "curl", "pip", "pytest", *ELSEWHERE}
    hidden = [
        f"{block.place}: {line}"
        for block in found("", "text")
        for line in block.text.splitlines()
        if line.removeprefix("$ ").split(" ")[0].removeprefix(".venv/bin/") in names
    ]
    assert hidden == []


@pytest.mark.parametrize(("block", "words"), [pytest.param(b, w, id=f"{b.place}:{w[0]}") for b, w in SHOWN])
def test_a_command_exists(block: Block, words: list[str]) -> None:
    name = words[0].removeprefix(".venv/bin/")
    if name in KNOWN:
        KNOWN[name](block, words[1:])
    else:
        assert name in UTILITIES | ELSEWHERE.keys() | functions(block.page), (
            f"{name}: say in ELSEWHERE why it is not run"
        )
        assert missing(words) == []


def missing(words: list[str]) -> list[str]:
    """Files of the repository that are named and are not there. `kubectl logs deploy/redis` names no file."""
    files = ("-f", "-k", "--filename", "--kustomize", "--values")
    told = [word.partition("=")[2] or word for before, word in pairs(words) if words[0] != "kubectl" or before in files]
    inside = [one for one in told if re.match(r"(deploy|examples|docs|bench|src|tools|tests)/", one)]
    return [one for one in inside if not list(REPOSITORY.glob(one.rstrip("/")))]


def extproc(_: Block | Path, words: list[str]) -> None:
    """The options are those of the command; a configuration that is named by a word for it may be any."""
    if words[0] in ("--help", "--version"):
        return
    given = [str(CONFIG) if before == "--config" and is_any(word) else word for before, word in pairs(words)]
    tree()[given[0]].make_context(f"extproc {given[0]}", given[1:])


def pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    return zip(["", *words], words, strict=False)


def is_any(path: str) -> bool:
    """`PATH`, `/etc/extproc`, `$CONFIG`: not a file of the repository."""
    return path.isupper() or path.startswith(("/", "$", "~")) or path in ("DIR", "extproc.yaml", "config.yaml")


def make(_: Block | Path, words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert [word for word in words if "=" not in word and word[0] != "-" and word not in targets] == []


def curl(block: Block, words: list[str]) -> None:
    local = [word for word in words if re.match(r"(http://)?(localhost|127\.0\.0\.1):(10000|8001)", word)]
    assert not local or relative(block.page) in EXECUTED, "it calls a gateway, and nothing executes it"


def python(_: Block, words: list[str]) -> None:
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1].partition(".")[0])
        assert not words[1].startswith("extproc") or importlib.util.find_spec(words[1])
    else:
        assert words[0][0] == "-" or (REPOSITORY / words[0]).exists() or is_any(words[0])


def pip(_: Block, words: list[str]) -> None:
    assert words[0] == "install"
    extras = {
        extra for word in words for group in re.findall(r"extproc\[([^]]*)\]", word) for extra in group.split(",")
    }
    assert extras <= set(PROJECT["project"]["optional-dependencies"])


def pytest_(_: Block, words: list[str]) -> None:
    assert missing(["pytest", *words]) == []


KNOWN: dict[str, Callable[[Block, list[str]], None]] = {
    "extproc": extproc,
    "make": make,
    "curl": curl,
    "python": python,
    "python3.11": python,
    "python3": python,
    "pip": pip,
    "pytest": pytest_,
}


SPANS = ("extproc exchange", "extproc try")
"""Names that look like a command, and are those of spans."""


def in_the_text(page: Path) -> list[list[str]]:
    """Commands of `extproc` and `make` that stand in a sentence or a table."""
    text = re.sub(r"^(```+).*?^\1", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    told = re.findall(r"`((?:\.venv/bin/)?(?:extproc|make) [a-z-][^`\n]*)`", text)
    plain = [re.sub(r"\\\||[\[\]{}]|\.\.\.", " ", one).removeprefix(".venv/bin/") for one in told if one not in SPANS]
    return [shlex.split(one) for one in plain]


@pytest.mark.parametrize("page", [pytest.param(page, id=relative(page)) for page in PAGES])
def test_commands_in_sentences_exist(page: Path) -> None:
    """They may be cut short, so only their names and the names of their options are looked at."""
    for words in in_the_text(page):
        if words[0] == "make":
            make(page, words[1:2])
        else:
            options = {one for param in tree()[words[1]].params for one in param.opts} | {"--help"}
            asked = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
            assert asked <= options, f"{words}"


def test_what_executes_a_page_is_there() -> None:
    for page, test in EXECUTED.items():
        assert (REPOSITORY / page).exists(), page
        assert (REPOSITORY / test.removeprefix("by ")).exists(), test


def test_no_more_is_let_pass_than_the_pages_need() -> None:
    assert ELSEWHERE.keys() - {words[0] for _, words in SHOWN} == set()
