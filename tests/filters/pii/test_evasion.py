"""Ways of writing a value that a reader, or a model, sees through, and the detector as well."""

import json

import pytest

from extproc_filters.pii.edits import mask
from extproc_filters.pii.media import Media
from extproc_filters.pii.redaction import Redaction
from extproc_filters.pii.scanner import Scanner
from extproc_filters.pii.task import Task
from extproc_filters.pii_detector import redact_text, scan_text

EMAIL = "jane.roe@example.org"
CARD = "4111 1111 1111 1111"
IBAN = "DE89370400440532013000"
SCANNER = Scanner()


def digits(alphabet: str) -> str:
    return "".join(alphabet[int(each)] if each.isdigit() else each for each in CARD)


SEEN = {
    "enclosed in keycaps": "\ufe0f\u20e3".join(CARD.replace(" ", "")) + "\ufe0f\u20e3",
    "cyrillic marks": "\u0488".join(CARD.replace(" ", "")),
    "hebrew points": "\u05b0".join(CARD.replace(" ", "")),
    "half marks": "\ufe20".join(EMAIL),
    "musical formatting": "\U0001d173".join(EMAIL),
    "colours of a terminal": "jane.roe\x1b[1;31m@example.org",
    "white on black": digits("⓿❶❷❸❹❺❻❼❽❾"),
    "sans-serif": digits("🄋➀➁➂➃➄➅➆➇➈"),
    "in two circles": digits("0⓵⓶⓷⓸⓹⓺⓻⓼⓽"),
    "in parentheses": digits("0⑴⑵⑶⑷⑸⑹⑺⑻⑼"),
    "letters in parentheses": "⒥⒜⒩⒠@⒠⒳⒜⒨⒫⒧⒠.⒪⒭⒢",
    "letters on flags": "🇩🇪" + IBAN[2:],
    "letters in squares": "\U0001f173\U0001f174" + IBAN[2:],
    "cyrillic look-alikes": EMAIL.replace("a", "\u0430").replace("e", "\u0435").replace("o", "\u043e"),
    "greek look-alikes": "D\u0395" + IBAN[2:],
    "a look-alike in the last label": "jane.roe@example.\u043erg",
    "japanese strokes": "+81\u30fc90\u30fc1234\u30fc5678",
    "a digit behind": EMAIL + "1",
    "javascript": EMAIL.replace("@", "\\u{40}"),
    "python": EMAIL.replace("@", "\\U00000040"),
    "perl": EMAIL.replace("@", "\\x{40}"),
    "octal": EMAIL.replace("@", "\\100"),
    "escape()": EMAIL.replace("@", "%u0040"),
    "markdown's escapes": "jane\\.roe\\@example\\.org",
    "bold in markdown": "**jane.roe**@example.org",
    "tags": "jane.roe<b>@</b><span class='x'>example</span>.org",
    "tags between digits": "4111<wbr>1111<wbr/>1111</i>1111",
    "a line's end": "4111 1111\n1111 1111",
    "a line's end and an indent": "4111 1111 1111\r\n  1111",
    "tabs": CARD.replace(" ", "\t"),
    "an IBAN on two lines": "DE89 3704 0044\n0532 0130 00",
    "an IBAN with two spaces": "DE89  3704  0044  0532  0130  00",
    "an IBAN with dots": "DE89.3704.0044.0532.0130.00",
}


@pytest.mark.parametrize("name", SEEN)
def test_seen_through(name: str) -> None:
    redacted = redact_text(f"a {SEEN[name]} z")
    assert sum(each.isalnum() for each in redacted.partition("[")[0] + redacted.rpartition("]")[2]) <= 4
    assert len(scan_text(f"a {SEEN[name]} z")) == 1


NOTHING = [
    "4111\n1111\n1111\n1111", "4111 1111\n1111\n1111", "<td>4111</td><td>1111</td><td>1111</td><td>1111</td>", "2**10 * 3**4",
    "a<b and c>d", "请联系张三", "иван пишет", "\\d+\\.\\d+\\-\\d{4}", "x <b 4111> y", "\\777 \\u{110000} %u00zz",
]  # fmt: skip


@pytest.mark.parametrize("text", NOTHING)
def test_nothing_is_made_up(text: str) -> None:
    assert scan_text(text) == []


def test_a_tag_hides_nothing_itself() -> None:
    """Encoded, so that only the decoded text shows it; and a tag is taken out of that."""
    assert scan_text("<b jane.roe&#64;example.org>x</b>")
    assert scan_text("<span title=&#52;111111111111111>x")


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("请联系张三jane@example.org", "jane"),
        ("иван@example.org", "иван"),
        ("张三@example.org", "张三"),
    ],
)
def test_where_an_address_begins(text: str, local: str) -> None:
    (finding,) = scan_text(text)
    assert text[finding.start :] == f"{local}@example.org"


def test_a_word_of_another_script_behind_an_address() -> None:
    (finding,) = scan_text("写给jane@example.org请回复")
    assert (finding.start, finding.end) == (2, 18)


@pytest.mark.parametrize("name", ["model", "id"])
def test_a_key_in_the_place_of_a_model_or_an_id(name: str) -> None:
    key = "ghp_" + "a1B2" * 9
    message = {"role": "user", "content": "hi", "id": "call_4111111111111111"}
    document = {"model": "gpt-4.1", "messages": [message]}
    (document if name == "model" else message)[name] = key
    redaction = Redaction(Task(SCANNER, mask), Media.JSON, None, 10_000)
    redaction.feed(json.dumps(document).encode())
    left = b"".join(redaction.finish()).decode()
    assert key not in left
    assert name != "model" or "call_4111111111111111" in left
