"""What headers say of a body, and bodies that are encoded."""

import gzip
import zlib

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.headers import Headers
from extproc.errors import Malformed, TooLarge
from extproc_filters.pii import media
from extproc_filters.pii.decoding import Intake
from extproc_filters.pii.media import Coding, Media, read_coding, read_media


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


ENCODERS = [
    (Coding.GZIP, gzip.compress),
    (Coding.DEFLATE, zlib.compress),
    (Coding.DEFLATE, raw_deflate),
    (Coding.BROTLI, brotli.compress),
]


def content(*values: str, name: str = "content-type") -> Headers:
    return Headers((name, value.encode("latin-1")) for value in values)


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("application/json", Media.JSON),
        ("Application/JSON; charset=UTF-8", Media.JSON),
        ('application/json;charset="utf-8"', Media.JSON),
        ("application/vnd.api+json", Media.JSON),
        ("text/plain;charset=us-ascii; format=flowed", Media.TEXT),
        ("text/html", Media.TEXT),
        ("application/x-www-form-urlencoded", Media.FORM),
        ("multipart/form-data; boundary=x", None),
        ("application/octet-stream", None),
        ("application/jsonx", None),
        ("image/png; charset=utf-16", None),
        ("", None),
    ],
)
def test_media_types(written: str, kind: Media | None) -> None:
    assert read_media(content(written)) is kind


def test_no_media_type() -> None:
    assert read_media(Headers()) is None


def test_a_long_media_type_is_read_and_not_remembered() -> None:
    before = media._read.cache_info().currsize
    for number in range(3):
        assert read_media(content(f"application/json; charset=utf-8; a={number:060000d}")) is Media.JSON
    assert media._read.cache_info().currsize == before
    assert read_media(content(f"application/json; a={before}")) is Media.JSON
    assert media._read.cache_info().currsize == before + 1


@pytest.mark.parametrize(
    "values",
    [
        ("application/json", "text/plain"),
        ("", "application/json"),
        ("application/json, text/plain",),
        ("json",),
        ("application/json; charset=utf-16",),
        ("application/json; charset=utf-8; charset=utf-7",),
        ("application/json; Charset='utf-8'",),
        ("text/plain; charset",),
        ("text/plain; ???",),
        ("application/json\xff",),
    ],
)
def test_media_types_that_two_readers_would_read_differently(values: tuple[str, ...]) -> None:
    with pytest.raises(Malformed):
        read_media(content(*values))


@pytest.mark.parametrize(
    ("values", "coding"),
    [
        ((), None),
        (("identity",), None),
        (("GZIP",), Coding.GZIP),
        (("x-gzip",), Coding.GZIP),
        (("br, identity",), Coding.BROTLI),
    ],
)
def test_codings(values: tuple[str, ...], coding: Coding | None) -> None:
    assert read_coding(content(*values, name="content-encoding")) is coding


@pytest.mark.parametrize("values", [("gzip, br",), ("gzip", "gzip"), ("zstd",), ("compress",)])
def test_codings_that_are_not_undone(values: tuple[str, ...]) -> None:
    with pytest.raises(Malformed):
        read_coding(content(*values, name="content-encoding"))


def decoded(coding: Coding | None, data: bytes, size: int = 7, limit: int = 1 << 20) -> bytes:
    intake = Intake(coding, limit)
    for start in range(0, len(data), size):
        intake.take(data[start : start + size])
    return intake.whole()


@settings(max_examples=100)
@given(st.sampled_from(ENCODERS), st.binary(max_size=4000), st.integers(1, 300))
def test_decoding_is_the_same_for_every_chunking(encoder, data: bytes, size: int) -> None:
    coding, encode = encoder
    assert decoded(coding, encode(data), size, limit=max(1, len(data))) == data


@pytest.mark.parametrize(("coding", "encode"), ENCODERS)
def test_what_is_not_whole_or_goes_on(coding: Coding, encode) -> None:
    whole = encode(b"hello " * 100)
    for size in (1, 7, 10_000):
        with pytest.raises(Malformed):
            decoded(coding, whole[:-1], size)
        with pytest.raises(Malformed):
            decoded(coding, whole + b"garbage", size)
        with pytest.raises(Malformed):
            decoded(coding, b"\xffnothing of the kind", size)


def test_a_gzip_body_may_have_several_members() -> None:
    assert decoded(Coding.GZIP, gzip.compress(b"one, ") + gzip.compress(b"two"), 5) == b"one, two"


@pytest.mark.parametrize(("coding", "encode"), ENCODERS)
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_a_bomb(coding: Coding, encode, size: int) -> None:
    bomb = encode(bytes(20_000_000))
    with pytest.raises(TooLarge):
        decoded(coding, bomb, size, limit=100_000)


def test_many_members_are_no_way_around_the_limit() -> None:
    with pytest.raises(TooLarge):
        decoded(Coding.GZIP, gzip.compress(b"x" * 100) * 50, 100_000, limit=1000)


def test_the_limit_of_a_plain_body() -> None:
    assert decoded(None, b"x" * 10, 3, limit=10) == b"x" * 10
    with pytest.raises(TooLarge):
        decoded(None, b"x" * 11, 3, limit=10)
