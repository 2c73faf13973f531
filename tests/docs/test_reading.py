"""The tests of the pages see what is on them: blocks, commands, links and headings."""

from pathlib import Path

import pytest

from tests.docs.pages import commands, lines
from tests.docs.test_start import says
from tools.docs.markdown import REPOSITORY, Block, anchors, blocks, links, outside_code

PAGE = """\
# One `thing:v1`, and more

See [a page](a.md#x), `[no](link.md)` and [`code`](b.md).

```sh
# [no](link.md)
```

1. In a list:

   ````markdown
   ```yaml
   kind: X
   ```
   ````

## A & B
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "page.md"
    file.write_text(PAGE)
    return file


def test_blocks(page: Path) -> None:
    found = [(block.language, block.line, block.text) for block in blocks(page)]
    assert found == [("sh", 5, "# [no](link.md)\n"), ("markdown", 11, "```yaml\nkind: X\n```\n")]


def test_links_and_anchors(page: Path) -> None:
    assert links(page) == ["a.md#x", "b.md"]
    assert anchors(page) == {"one-thingv1-and-more", "a--b"}


def test_what_is_no_code_is_changed() -> None:
    assert outside_code("a `a` a\n```\na\n```\na\n", lambda line: line.replace("a", "b")) == "b `a` b\n```\na\n```\nb\n"


def block(language: str, text: str) -> Block:
    return Block(REPOSITORY / "page.md", 1, language, text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cd x && extproc check | jq .  # why's that\n", [["cd", "x"], ["extproc", "check"], ["jq", "."]]),
        ("A=1 B=2 make run >out 2>&1 &\nmake test\n", [["make", "run"], ["make", "test"]]),
        ("curl -d '{\n \"a\": 1}' \\\n  http://x\n", [["curl", "-d", '{\n "a": 1}', "http://x"]]),
        ("kubectl apply -f - <<'EOF'\nkind: X\nEOF\nmake test\n", [["kubectl", "apply", "-f", "-"], ["make", "test"]]),
        ("until curl x; do sleep 1; done\n", [["curl", "x"], ["sleep", "1"]]),
        ("for i in 1 2; do curl x; done\n", [["curl", "x"]]),
    ],
)
def test_commands(text: str, found: list[list[str]]) -> None:
    assert commands(block("sh", text)) == found


def test_of_a_console_only_what_is_typed() -> None:
    shown = block("console", "$ make run\nmake believe\n$ curl 'a\nb'\n")
    assert list(lines(shown)) == ["make run", "curl 'a\nb'"]


def test_a_quotation_that_nothing_ends_is_told() -> None:
    with pytest.raises(AssertionError, match="a quotation that nothing ends"):
        commands(block("sh", "echo 'a\n"))


def test_an_output_is_compared_but_for_what_is_left_out() -> None:
    assert says('{"a": ...}401', '{"a": "b\nc"}401\n')
    assert not says('{"a": ...}401', '{"a": 1}403')
    assert not says("a", "ab")
