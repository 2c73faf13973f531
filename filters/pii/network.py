"""Addresses of machines, which lead to people."""

import re
from typing import Final

from extproc_filters.pii import checks
from extproc_filters.pii.recognizer import Anchor, Recognizer

OCTET: Final = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

NETWORK: Final = (
    Recognizer(
        "IP_ADDRESS",
        "IPv4, but no version number",
        Anchor(r"(?:^|[^\d.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d", before=14, after=6),
        re.compile(
            rb"(?<![\w.])(?=[0-9])(?<!ersion )(?<!ersion: )(?<!ersion\":\")(?<!ersion\": \")(?<!ver )(?<!release )"
            rb"(?<!build )(?<!==)" + OCTET + rb"(?:\." + OCTET + rb"){3}(?!\w|\.[0-9]|-[0-9A-Za-z])"
        ),
        0.7,
        checks.ipv4,
    ),
    Recognizer(
        "IP_ADDRESS",
        "IPv6, shortened or whole",
        Anchor(
            r"(?:^|[^\w:.])(?:(?:[0-9A-Fa-f]{1,4}:){1,7}:|(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f])", before=42, after=48
        ),
        re.compile(rb"(?<![\w:.])[0-9A-Fa-f]{1,4}:(?:[0-9A-Fa-f]{0,4}:){1,7}[0-9A-Fa-f]{0,4}(?![\w:])"),
        0.7,
        checks.ipv6,
    ),
    Recognizer(
        "MAC_ADDRESS",
        "six pairs with colons or hyphens",
        Anchor(r"(?:^|[^\w:-])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}", before=18, after=2),
        re.compile(rb"(?<![\w:-])(?=([0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\2){4}[0-9A-Fa-f]{2})(?![\w:-]))"),
        0.8,
        checks.mac,
    ),
    Recognizer(
        "MAC_ADDRESS",
        "three groups of four with dots",
        Anchor(r"(?:^|[^\w.])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}", before=15, after=2),
        re.compile(rb"(?<![\w.])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?!\w|\.\w)"),
        0.7,
        checks.dotted_mac,
    ),
)
