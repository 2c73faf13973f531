"""What an upstream may answer in."""

import pytest

from extproc_filters.usage.accepted import accepted


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("gzip", None),
        ("gzip, deflate, br", None),
        ("gzip;q=0.5,identity;q=0", None),
        ("gzip, deflate, br, zstd", "gzip, deflate, br"),
        ("zstd", "identity"),
        ("*", "identity"),
        ("br;q=1.0, *;q=0.5", "br;q=1.0"),
        ("GZIP, X-Gzip, compress", "GZIP, X-Gzip"),
        ("", None),
        ("gzip, ,", None),
        ("dcb, gzip ; q=0.7, exi", "gzip ; q=0.7"),
        ("gzip;level=9", "identity"),
        ("gz ip", "identity"),
    ],
)
def test_what_stays(header: str | None, expected: str | None) -> None:
    assert accepted(header) == expected
