"""Members of a document that comes in pieces: the ones that stand there, whatever the cuts."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.errors import Malformed
from extproc_filters.usage.members import LONGEST, Member, Members, Tree
from tests.filters.usage.cuts import CUTS, bytewise, cut

TREE: Tree = {"usage": None, "response": {"usage": None, "id": None}, "naïve": None}


def read(*chunks: bytes, tree: Tree = TREE) -> list[Member]:
    """The members of a whole document."""
    members = Members(tree)
    found = [member for chunk in chunks for member in members.feed(chunk)]
    assert members.complete
    return found


def said(*chunks: bytes) -> dict[str, bytes | None]:
    return {".".join(member.path): member.text for member in read(*chunks)}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"{}", {"": b"{"}),
        (b' \r\n\t{"a":1}\n', {"": b"{"}),
        (b'{"usage":{"a":[1,{"b":"}"}]}}', {"": b"{", "usage": b'{"a":[1,{"b":"}"}]}'}),
        (b'{ "usage" : null , "x":2}', {"": b"{", "usage": b"null"}),
        (b'{"usage":12.5e3}', {"": b"{", "usage": b"12.5e3"}),
        (b'{"usage":"a\\"b\\\\"}', {"": b"{", "usage": b'"a\\"b\\\\"'}),
        (b'{"usage":[]}', {"": b"{", "usage": b"[]"}),
        (b'{"response":{"usage":1,"x":{"usage":2}},"y":1}', {"": b"{", "response": b"{", "response.usage": b"1"}),
        (b'{"response":[{"usage":1}]}', {"": b"{", "response": b'[{"usage":1}]'}),
        (b'{"response":{}}', {"": b"{", "response": b"{"}),
        (b'{"\\u0075sa\\u0067e":1}', {"": b"{", "usage": b"1"}),
        (b'{"na\\u00efve":1}', {"": b"{", "naïve": b"1"}),
        ('{"naïve":1}'.encode(), {"": b"{", "naïve": b"1"}),
        (b'{"us\\q":1,"\xff":2}', {"": b"{"}),
        (b'{"a":{"usage":1},"b":[{"usage":1}],"c":"\\"usage\\":1"}', {"": b"{"}),
    ],
)
def test_the_members_that_are_wanted(document: bytes, expected: dict[str, bytes]) -> None:
    assert said(document) == said(*bytewise(document)) == expected


def test_where_they_stand() -> None:
    document = b' {"x":[1,2], "response": {"id":"a"}, "usage":  {"b":1} }'
    for member in read(document) + read(*bytewise(document)):
        assert document[member.start : member.end] == member.text


def test_a_list_of_documents() -> None:
    document = b'[{"usage":1}, 5, "x", ["usage"], {"usage":2}]'
    expected = [((), b"{"), (("usage",), b"1"), ((), b"{"), (("usage",), b"2")]
    assert (
        [(m.path, m.text) for m in read(document)] == [(m.path, m.text) for m in read(*bytewise(document))] == expected
    )
    assert read(b"[ ]") == []


def test_a_member_that_is_there_twice_is_told_twice() -> None:
    assert [member.text for member in read(b'{"usage":1,"usage":2}')] == [b"{", b"1", b"2"]


@pytest.mark.parametrize(
    "document",
    [
        b"1",
        b'"usage"',
        b"null",
        b"\xef\xbb\xbf{}",
        b"{,}",
        b"{1:2}",
        b'{"a"}',
        b'{"a",}',
        b'{"a":}',
        b'{"a":,}',
        b'{"a":1,}',
        b'{"a":1;"b":2}',
        b'{"a":1}}',
        b'{"a":1}{"a":1}',
        b"[{}{}]",
        b"{]",
        b"[}",
        b'{"a" "b"}',
    ],
)
def test_a_broken_structure(document: bytes) -> None:
    for chunks in ([document], bytewise(document)):
        with pytest.raises(Malformed):
            read(*chunks)


@pytest.mark.parametrize(
    "document", [b"", b"{", b'{"a', b'{"a"', b'{"a":', b'{"a":1', b'{"a":"\\', b'{"a":[', b"[", b"[1,"]
)
def test_a_document_that_does_not_end(document: bytes) -> None:
    members = Members(TREE)
    members.feed(document)
    assert not members.complete


def test_a_value_that_is_too_long_is_not_kept() -> None:
    value = b'"' + b"x" * (LONGEST - 2) + b'"'
    document = b'{"usage":%b}'
    for size in (1000, LONGEST + 100):
        fits, large = document % value, document % (value[:-1] + b'x"')
        assert read(*cut(fits, list(range(0, len(fits), size))))[1].text == value
        assert read(*cut(large, list(range(0, len(large), size))))[1].text is None


def test_a_name_that_is_too_long_is_none_of_ours() -> None:
    assert said(b'{"%b":1,"usage":2}' % (b"usage" * 1000)) == {"": b"{", "usage": b"2"}


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "filling",
    [
        b"[" * 300_000 + b"]" * 300_000,
        b'"' + b"x" * 5_000_000 + b'"',
        b'"' + b'\\"' * 500_000 + b'"',
        b"[%b0]" % (b"0," * 500_000),
    ],
)
def test_what_is_large_or_deep_is_passed_over(filling: bytes) -> None:
    document = b'{"a":%b,"usage":1}' % filling
    assert said(*cut(document, list(range(0, len(document), 65_536)))) == {"": b"{", "usage": b"1"}
    members = Members(TREE)
    for byte in bytewise(document[:200_000]):
        assert len(members.feed(byte)) <= 1


NAMES = st.sampled_from(["usage", "response", "id", "a", "naïve", 'quo"te', "back\\slash", "{", "]", ""])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.just('{"usage":{}}'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)


def wanted(value: dict[str, Any], tree: Tree, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """The same, of a document that was read."""
    found: dict[tuple[str, ...], Any] = {}
    for name, inner in value.items():
        if name in tree:
            below = tree[name]
            if below is not None and isinstance(inner, dict):
                found |= wanted(inner, below, (*path, name))
            else:
                found[(*path, name)] = inner
    return found


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, CUTS, st.sampled_from([None, 1]), st.booleans())
def test_any_document_at_any_cut(document: dict[str, Any], cuts: list[int], indent: int | None, escaped: bool) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=escaped).encode()
    found = read(*cut(text, cuts))
    assert found == read(text) == read(*bytewise(text))
    leaves = {member.path: json.loads(member.text) for member in found if member.text and member.text != b"{"}
    assert leaves == wanted(document, TREE)
    assert all(text[member.start : member.end] == member.text for member in found)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='{}[]",:\\ \nau1', max_size=40).map(str.encode), CUTS)
def test_any_text_at_any_cut_ends_alike(text: bytes, cuts: list[int]) -> None:
    def outcome(chunks: list[bytes]) -> Any:
        members = Members({"u": None, "a": {"u": None}})
        found: list[Member] = []
        try:
            for chunk in chunks:
                found += members.feed(chunk)
        except Malformed:
            return "malformed"
        return found, members.complete

    assert outcome([text]) == outcome(cut(text, cuts)) == outcome(bytewise(text))
