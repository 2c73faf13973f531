"""Bodies to begin with: one of each kind that the code tells apart."""

import gzip
import json
import zlib
from typing import Final

import brotli

from tests.filters.pii.echo import DIALECTS, TEXT, TOOL
from tests.fuzz.targets import EMAIL

SAID: Final = f'I am {EMAIL}, [EMAIL_ADDRESS_1] https://a.example/[US_SSN_1] {{"a": "[US_SSN_1]"}}'
PIECES: Final = [(0, kind, SAID[at : at + 9]) for kind in (TEXT, TOOL) for at in range(0, len(SAID), 9)]
DOCUMENT: Final = json.dumps(
    {"messages": [{"content": SAID}], "a": json.dumps({"b": SAID}), "n": 4111111111111111}
).encode()

LISTED: Final = [
    {"candidates": [{"index": 0, "content": {"parts": [{"text": piece}]}, "logprobsResult": {"a": [piece]}}]}
    for _, kind, piece in PIECES
    if kind == TEXT
]
STREAMS: Final = [b"\x07" + b"".join(dialect.say(PIECES)) for dialect in DIALECTS.values()]
SEEDS: Final = [
    *STREAMS,
    b"\x05\x09" + DOCUMENT,
    b"\x07" + json.dumps(LISTED).encode(),
    b"\x07\x09" + json.dumps(LISTED).encode(),
    b"\x01\x09" + SAID.encode(),
    b"\x02\x09a=" + EMAIL.encode() + b"&b=%5B",
    b"\x01\x09" + gzip.compress(DOCUMENT),
    b"\x02\x09" + zlib.compress(DOCUMENT),
    b"\x03\x09" + brotli.compress(DOCUMENT),
    b"\x03: comment\r\n\r\nevent: x\rdata: [EMAIL_ADDRESS_1]\rdata: two\r\rdata\n\n",
]
