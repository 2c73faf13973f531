"""Secrets that have no business in a prompt: keys of clouds and providers, tokens, private keys, passwords in URLs."""

import re
from typing import Final

from extproc_filters.pii import checks
from extproc_filters.pii.recognizer import Anchor, Recognizer, Span

BASE64URL: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
LONGEST_HEADER: Final = 4096
"""Characters of a JWT's first part that are looked at."""


def _key(entity: str, anchor: str, pattern: bytes, score: float = 0.95) -> Recognizer:
    """A key with a prefix of its own and no more than 255 characters."""
    return Recognizer(
        entity,
        Anchor(anchor, before=100, after=260),
        re.compile(rb"(?<![A-Za-z0-9])(?:" + pattern + rb")"),
        score,
    )


def _jwt(data: bytes, span: Span) -> Span | None:
    """From the second part, which the pattern found, back to the beginning of the first."""
    before = data[max(0, span[0] - LONGEST_HEADER) : span[0]]
    header = before[len(before.rstrip(BASE64URL)) :]
    start = header.find(b"eyJ")
    return (span[0] - len(header) + start, span[1]) if start >= 0 else None


CREDENTIALS: Final = (
    _key(
        "AWS_ACCESS_KEY", "(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}", rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])"
    ),
    Recognizer(
        "AWS_ACCESS_KEY",
        Anchor(r"(?i)secret[ _-]?(?:access[ _-]?)?key", before=24, after=64),
        re.compile(rb"(?i)secret[ _-]?(?:access[ _-]?)?key[^A-Za-z0-9/+\n]{1,8}([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"),
        0.8,
        checks.mixed,
    ),
    _key("GCP_API_KEY", r"AIza[\w-]{35}", rb"AIza[\w-]{35}(?![\w-])"),
    _key("GITHUB_TOKEN", "gh[pousr]_[A-Za-z0-9]{36}", rb"gh[pousr]_[A-Za-z0-9]{36,251}"),
    _key("GITHUB_TOKEN", r"github_pat_\w{22}", rb"github_pat_\w{22,244}"),
    _key("GITLAB_TOKEN", r"gl(?:pat|dt|rt|ptt)-[\w-]{20}", rb"gl(?:pat|dt|rt|ptt)-[\w-]{20,200}"),
    _key("SLACK_TOKEN", r"xox[abeoprs]-[\w-]{10}", rb"xox[abeoprs]-[\w-]{10,250}"),
    _key(
        "STRIPE_KEY",
        "(?:[sr]k|whsec)_(?:live_|test_)?[0-9A-Za-z]{16}",
        rb"(?:[sr]k_(?:live|test)|whsec)_[0-9A-Za-z]{16,250}",
    ),
    Recognizer(
        "OPENAI_API_KEY",
        Anchor(r"sk-[\w-]{20}", before=100, after=260),
        re.compile(rb"(?<![A-Za-z0-9])sk-(?!ant-)[\w-]{20,250}"),
        0.9,
        checks.mixed,
    ),
    _key("ANTHROPIC_API_KEY", r"sk-ant-[\w-]{20}", rb"sk-ant-[\w-]{20,250}"),
    Recognizer(
        "JWT",
        Anchor(r"\.eyJ[\w-]{6}", before=12, after=64, run=re.compile(rb"[\w.-]*+"), longest=0),
        re.compile(rb"(?<=[\w-])\.eyJ[\w-]{4,}+(?:\.[\w-]*+)?"),
        0.9,
        checks.token,
        widen=_jwt,
    ),
    Recognizer(
        "PRIVATE_KEY",
        Anchor(
            "-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY",
            before=64,
            after=128,
            run=re.compile(rb'(?:[^"-]|-(?!----))*+[^"]{0,64}'),
            longest=0,
        ),
        re.compile(
            rb"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
            rb'(?:(?:[^"-]|-(?!----))*+-----END [A-Z0-9 ]{0,40}-----|(?:\s|\\[nr]|[A-Za-z0-9+/=]{20,}+)*+)'
        ),
        0.95,
    ),
    Recognizer(
        "URL_CREDENTIALS",
        Anchor("://", before=4, after=400),
        re.compile(rb"://([^\s/?#\"'<>@:]{0,128}:[^\s/?#\"'<>]{1,256})@(?=[\w\[\x7f])"),
        0.9,
    ),
)
