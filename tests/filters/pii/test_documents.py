"""Whatever the document: what was found does not leave, and everything else leaves as it came."""

import json
import re
from collections import Counter
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.documents import read
from extproc_filters.pii.edits import Writer, count, delete, mask
from extproc_filters.pii.findings import merge
from extproc_filters.pii.jsontext import DEEPEST, MOST
from extproc_filters.pii.media import Media
from extproc_filters.pii.paths import Path, read_path
from extproc_filters.pii.scanner import Pattern, Scanner
from extproc_filters.pii.work import done
from tests.filters.pii.samples import CARD, EMAIL, JWT, ORDINARY, PEM

SCANNER = Scanner()
PLANTED = [EMAIL, CARD, "123-45-6789", "DE89 3704 0044 0532 0130 00", "+1 555 123 4567", JWT, PEM, "ghp_" + "a1B2" * 9]
MASKED = re.compile(r"\[[A-Z_]+\](?:_\d+)?")

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(ORDINARY)
TEXTS = st.lists(WORDS | st.sampled_from(PLANTED), max_size=4).map("  ".join)
SCALARS = TEXTS | st.integers(-999_999, 999_999) | st.booleans() | st.none() | st.floats(-9, 9)
TREES = st.recursive(
    SCALARS, lambda child: st.lists(child, max_size=3) | st.dictionaries(TEXTS, child, max_size=3), max_leaves=8
)


def redact(
    media: Media, text: str, *fields: str, scanner: Scanner = SCANNER, writer: Writer = mask
) -> tuple[str, Counter[str]]:
    paths: tuple[Path, ...] = tuple(map(read_path, fields))
    document = done(read(media, text, paths))
    findings = done(merge(done(scanner.find(document.text, escaped=document.escaped))))
    edits = done(document.edits(findings, writer))
    return done(document.write(edits)), count(edits)


def redacted(document: object, **how: bool) -> object:
    return json.loads(redact(Media.JSON, json.dumps(document, **how))[0])


def strings(document: object) -> list[str]:
    if isinstance(document, dict):
        return [each for pair in document.items() for value in pair for each in strings(value)]
    if isinstance(document, list):
        return [each for value in document for each in strings(value)]
    return [document] if isinstance(document, str) else []


def is_redaction_of(new: object, old: object) -> bool:
    """Whether `new` is `old` with parts of its strings masked."""
    if isinstance(old, dict):
        return (
            isinstance(new, dict)
            and len(new) == len(old)
            and all(is_redaction_of(a, b) and is_redaction_of(new[a], old[b]) for a, b in zip(new, old, strict=True))
        )
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(is_redaction_of, new, old))
    if isinstance(old, str) and isinstance(new, str) and new != old:
        return re.fullmatch(".*".join(map(re.escape, MASKED.split(new))), old, re.DOTALL) is not None
    return new == old or (isinstance(old, int) and isinstance(new, str))


def unharmed(text: str) -> bool:
    return not any(value in text for value in PLANTED)


@settings(max_examples=200, deadline=None)
@given(TREES, st.booleans(), st.sampled_from([None, 2]))
def test_json_stays_json_and_equal_but_for_what_was_found(tree: object, ascii_only: bool, indent: int | None) -> None:
    sent = json.dumps(tree, ensure_ascii=ascii_only, indent=indent)
    leaves, counted = redact(Media.JSON, sent)
    result = json.loads(leaves, object_pairs_hook=lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else None)
    assert is_redaction_of(result, tree)
    assert all(map(unharmed, strings(result)))
    assert counted or leaves == sent


@settings(max_examples=150, deadline=None)
@given(TREES.filter(lambda tree: isinstance(tree, dict | list)), st.integers(1, 3), st.booleans())
def test_json_inside_strings_of_json(tree: object, depth: int, ascii_only: bool) -> None:
    sent = json.dumps(tree, ensure_ascii=ascii_only)
    for _ in range(depth):
        sent = json.dumps([sent], ensure_ascii=ascii_only)
    result: object = json.loads(redact(Media.JSON, sent)[0])
    for _ in range(depth):
        assert isinstance(result, list)
        result = json.loads(result[0])
    assert is_redaction_of(result, tree)
    assert all(map(unharmed, strings(result)))


@settings(max_examples=100, deadline=None)
@given(TREES)
def test_what_leaves_is_not_redacted_again(tree: object) -> None:
    once = redact(Media.JSON, json.dumps(tree))[0]
    assert redact(Media.JSON, once)[0] == once


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_text(text: str) -> None:
    leaves, counted = redact(Media.TEXT, text)
    assert unharmed(leaves)
    assert is_redaction_of(leaves, text)
    assert counted or leaves == text


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=4), st.booleans())
def test_forms(pairs: list[tuple[str, str]], plus: bool) -> None:
    sent = urlencode(pairs) if plus else urlencode(pairs, quote_via=quote)
    leaves, counted = redact(Media.FORM, sent)
    result = parse_qsl(leaves, keep_blank_values=True, strict_parsing=bool(leaves), max_num_fields=99)
    assert all(unharmed(part) for pair in result for part in pair)
    assert all(is_redaction_of(list(a), list(b)) for a, b in zip(result, pairs, strict=True))
    assert counted or leaves == sent


def test_only_what_changed_is_written_anew() -> None:
    sent = '{ "a" :\t1e5, "b":[1.50, "\\u00e9\\/", "\\u0068i ' + EMAIL + '"] ,"c": -0.0 }'
    assert redact(Media.JSON, sent)[0] == sent.replace(EMAIL, "[EMAIL_ADDRESS]")
    form = f"a=%7E+x&b={quote(EMAIL)}&c&=&d=%zz"
    assert redact(Media.FORM, form)[0] == "a=%7E+x&b=%5BEMAIL_ADDRESS%5D&c&=&d=%zz"


@pytest.mark.parametrize(
    ("sent", "leaves"),
    [
        (r'{"a":"jane\u0040example.org"}', '{"a":"[EMAIL_ADDRESS]"}'),
        (r'{"a":"\u006aane@example\u002eorg"}', '{"a":"[EMAIL_ADDRESS]"}'),
        (r'{"a":"\uff14111 1111 1111 1111"}', '{"a":"[CREDIT_CARD]"}'),
        (r'{"a":"one\njane@example.org\ttwo"}', r'{"a":"one\n[EMAIL_ADDRESS]\ttwo"}'),
        (r'{"a":"https:\/\/u:p4ss@h.example"}', r'{"a":"https:\/\/[URL_CREDENTIALS]@h.example"}'),
        (r'{"a":"\\njane@example.org \ud83d\ude00a@b.co"}', r'{"a":"\\n[EMAIL_ADDRESS] \ud83d\ude00[EMAIL_ADDRESS]"}'),
        (r'{"a":"\"jane@example.org\""}', r'{"a":"\"[EMAIL_ADDRESS]\""}'),
        ('{"a":4111111111111111}', '{"a":"[CREDIT_CARD]"}'),
        ('[4111111111111111,1]', '["[CREDIT_CARD]",1]'),
        ('{"phone":5551234567,"ssn":123456789}', '{"phone":"[PHONE_NUMBER]","ssn":"[US_SSN]"}'),
        ('4111111111111111', '"[CREDIT_CARD]"'),
        ('"jane@example.org"', '"[EMAIL_ADDRESS]"'),
        (r'{"a":"{\"n\":4111111111111111}"}', r'{"a":"{\"n\":\"[CREDIT_CARD]\"}"}'),
        (r'["[\"[4111111111111111]\"]"]', r'["[\"[\\\"[CREDIT_CARD]\\\"]\"]"]'),
        (r'{"a":"{\"n\":\"x\\njane@example.org\"}"}', r'{"a":"{\"n\":\"x\\n[EMAIL_ADDRESS]\"}"}'),
        (r'{"a":"{\"n\":\"\\u006aane@example.org\"}"}', r'{"a":"{\"n\":\"[EMAIL_ADDRESS]\"}"}'),
        ('{"jane@example.org":1,"john@example.org":2}', '{"[EMAIL_ADDRESS]":1,"[EMAIL_ADDRESS]_2":2}'),
        ('{"[EMAIL_ADDRESS]":1,"john@example.org":2}', '{"[EMAIL_ADDRESS]":1,"[EMAIL_ADDRESS]_2":2}'),
        ('{"a":{"jane@example.org":1},"b":{"john@example.org":2}}', '{"a":{"[EMAIL_ADDRESS]":1},"b":{"[EMAIL_ADDRESS]":2}}'),
    ],
)  # fmt: skip
def test_json_in_detail(sent: str, leaves: str) -> None:
    assert redact(Media.JSON, sent)[0] == leaves
    json.loads(leaves)


def test_two_members_of_one_name_in_a_string_are_the_caller_s_own_text() -> None:
    sent = r'{"a":"{\"x\":1,\"x\":\"jane@example.org\"}"}'
    assert redact(Media.JSON, sent)[0] == sent.replace("jane@example.org", "[EMAIL_ADDRESS]")


def test_thousands_of_names_that_become_one() -> None:
    sent = json.dumps({f"user{number}@example.org": number for number in range(20_000)})
    result = json.loads(redact(Media.JSON, sent)[0])
    assert list(result.values()) == list(range(20_000))
    assert list(result)[:2] + list(result)[-1:] == ["[EMAIL_ADDRESS]", "[EMAIL_ADDRESS]_2", "[EMAIL_ADDRESS]_20000"]


def test_deleting_keeps_the_document() -> None:
    assert redact(Media.JSON, '{"a@b.co":"x jane@example.org y","n":4111111111111111,"c@d.co":1}', writer=delete)[
        0
    ] == ('{"":"x  y","n":"","_2":1}')


def test_text_and_forms_with_a_document_inside() -> None:
    assert redact(Media.TEXT, '{"n": 4111111111111111}')[0] == '{"n": "[CREDIT_CARD]"}'
    form = redact(Media.FORM, "payload=" + quote('{"n": 4111111111111111}'))[0]
    assert parse_qsl(form) == [("payload", '{"n": "[CREDIT_CARD]"}')]


def test_an_own_pattern_that_spans_members_stays_within_strings() -> None:
    scanner = Scanner([], [Pattern("ANY", "(?s)one.*four", 0.8)])
    sent = '{"a":"zero one","b":["two",3,"thr\\nee"],"c":"four five"}'
    leaves = '{"a":"zero [ANY]","[ANY]":["[ANY]","[ANY]","[ANY]"],"[ANY]_2":"[ANY] five"}'
    assert redact(Media.JSON, sent, scanner=scanner)[0] == leaves


def test_an_own_pattern_cannot_cut_an_escape() -> None:
    scanner = Scanner([], [Pattern("N", "n(?:ext)?", 0.8), Pattern("NL", r"\s", 0.8)])
    for sent in (r'["a\nb"]', r'["a\\nb"]', r'["[\"a\\nb \\u006e\"]"]', r'["[\"\\\\n\"]"]'):
        result = json.loads(redact(Media.JSON, sent, scanner=scanner)[0])
        assert result[0][:1] != "[" or json.loads(result[0])


NASTY = st.text(st.sampled_from('an\\"u0{}[]:\n é\U0001f600\t/%4&#'), max_size=8)
NESTED = st.recursive(
    NASTY | st.integers(0, 99),
    lambda child: (
        st.lists(child, max_size=3)
        | st.dictionaries(NASTY, child, max_size=3)
        | st.builds(json.dumps, child, ensure_ascii=st.booleans())
    ),
    max_leaves=6,
)
OWN = ["n", r"\s", r"\\", '"', "u0", r"\d+", "é", "\U0001f600", "(?s)a.*n", r"[{}\[\],:]"]
OWN_SCANNERS = [Scanner([], [Pattern("P", expression, 0.8)]) for expression in OWN]


def same_shape(new: object, old: object) -> bool:
    """Whether both are built alike, and so are the documents in their strings."""
    if isinstance(old, dict):
        return isinstance(new, dict) and len(new) == len(old) and all(map(same_shape, new.values(), old.values()))
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(same_shape, new, old))
    if isinstance(old, str) and old.lstrip()[:1] in ("{", "["):
        try:
            inner = json.loads(old)
        except ValueError:
            return isinstance(new, str)
        return isinstance(new, str) and same_shape(json.loads(new), inner)
    return isinstance(new, str) or new == old


@settings(max_examples=200, deadline=None)
@given(NESTED, st.booleans(), st.sampled_from(OWN_SCANNERS))
def test_own_patterns_leave_documents_whole(tree: object, ascii_only: bool, scanner: Scanner) -> None:
    sent = json.dumps(tree, ensure_ascii=ascii_only)
    assert same_shape(json.loads(redact(Media.JSON, sent, scanner=scanner)[0]), tree)


@pytest.mark.parametrize(
    "sent",
    [
        '{"a":1,"a":2}', r'{"a":1,"\u0061":2}', '{"x":[{"y":{"":1,"":2}}]}', "", " ", "{", "[1] 2", "{'a':1}", "NaN",
        "[Infinity]",
        '"\x01"', r'"\ud800"', r'"\ud800\ud800"', r'"\x41"', "01", "[1,]", '{"a":1}{"b":2}', "\ufeff\ufeff{}", "hello",
    ],
)  # fmt: skip
def test_what_is_no_json_or_could_be_read_in_two_ways(sent: str) -> None:
    with pytest.raises(Malformed):
        redact(Media.JSON, sent)


def test_one_name_in_two_objects_is_no_duplicate() -> None:
    assert redact(Media.JSON, '{"a":{"a":[{"a":1},{"a":2}]},"b":{"a":1}}')[0]


@pytest.mark.parametrize(
    ("fine", "too_much"),
    [
        ("[" * DEEPEST + "]" * DEEPEST, "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)),
        ('{"a":' * DEEPEST + "1" + "}" * DEEPEST, '{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1)),
        ("[" + "1," * (MOST - 2) + "1]", "[" + "1," * (MOST - 1) + "1]"),
        ("[" + "[]," * (MOST - 2) + "true]", "[" + "[]," * (MOST - 1) + "null]"),
    ],
)
def test_as_deep_and_as_crowded_as_the_limits_and_beyond(fine: str, too_much: str) -> None:
    assert redact(Media.JSON, fine)[0] == fine
    with pytest.raises(TooLarge):
        redact(Media.JSON, too_much)


def test_far_beyond_the_limits() -> None:
    for sent in ("[" * 1_000_000, "[" * 5000 + "]" * 5000, '{"a":' * 200_000):
        with pytest.raises((TooLarge, Malformed)):
            redact(Media.JSON, sent)
    with pytest.raises(TooLarge):
        redact(Media.JSON, "[" * 5000 + "]" * 5000)
    with pytest.raises(TooLarge):
        redact(Media.FORM, "&" * MOST)


def test_a_form_that_is_not_utf8() -> None:
    with pytest.raises(Malformed):
        redact(Media.FORM, "a=%ff")


CHAT = {
    "model": "gpt-4o",
    "user": EMAIL,
    "messages": [
        {"role": "user", "content": f"I am {EMAIL}"},
        {"role": "assistant", "tool_calls": [{"id": "4111111111111111", "type": "function"}]},
        {"role": "tool", "tool_call_id": "4111111111111111", "content": [{"type": "text", "text": CARD}]},
    ],
}


def test_ids_of_an_llm_request_stay() -> None:
    result = json.loads(redact(Media.JSON, json.dumps(CHAT))[0])
    assert result["messages"][1] == CHAT["messages"][1]  # type: ignore[index]
    assert result["messages"][2]["tool_call_id"] == "4111111111111111"
    assert result["messages"][2]["content"][0]["text"] == "[CREDIT_CARD]"
    assert (result["user"], result["messages"][0]["content"]) == ("[EMAIL_ADDRESS]", "I am [EMAIL_ADDRESS]")


def test_what_is_no_identifier_does_not_pass_as_one() -> None:
    for place in (
        {"model": EMAIL, "messages": []},
        {"messages": [{"role": CARD}]},
        {"messages": [{"role": "4111111111111111"}]},
        {"model": "m", "input": {"a": {"id": "4111111111111111"}}},  # a name where a list has an index
    ):
        assert MASKED.search(json.dumps(redacted(place)))


def test_ids_of_another_request_are_scanned() -> None:
    assert redacted({"tool_call_id": "4111111111111111"}) == {"tool_call_id": "[CREDIT_CARD]"}
    assert redacted({"messages": "x", "model": "4111111111111111"}) == {"messages": "x", "model": "[CREDIT_CARD]"}


def test_fields_narrow() -> None:
    sent = json.dumps({"a": {"b": [EMAIL, {"c": EMAIL}], "d": EMAIL}, "b": EMAIL})
    result = json.loads(redact(Media.JSON, sent, "$.a.b[*]", "$['b']")[0])
    assert result == {"a": {"b": ["[EMAIL_ADDRESS]", {"c": "[EMAIL_ADDRESS]"}], "d": EMAIL}, "b": "[EMAIL_ADDRESS]"}
    assert json.loads(redact(Media.JSON, sent, "$.a.b[1]")[0])["a"]["b"] == [EMAIL, {"c": "[EMAIL_ADDRESS]"}]
    assert "@" not in redact(Media.JSON, sent, "$")[0]


@pytest.mark.parametrize(
    "written", ["a.b", "$..a", "$.a[?(@.b)]", "$.a[1:2]", "$.a[-1]", "$.", "$a", "$.a b", "$['a", ""]
)
def test_paths_that_are_not_understood(written: str) -> None:
    with pytest.raises(ValueError, match=r"write|begin"):
        read_path(written)
