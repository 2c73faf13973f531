"""Secrets that have no business in a prompt: keys of clouds and providers, tokens, private keys, passwords in URLs."""

import re
from collections.abc import Callable
from typing import Final

from extproc_filters.pii import checks
from extproc_filters.pii.recognizer import Anchor, Recognizer, Span, Topic

BASE64URL: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
LONGEST_HEADER: Final = 4096
"""Characters of a JWT's first part that are looked at."""

SECRET: Final = Topic(
    within=("secret", "token", "api key", "apikey", "access key", "private key", "auth key", "account key", "shared key",
            "password", "passwd", "passphrase", "credential", "credentials", "authorization bearer", "authorization"),
    alone=("pwd", "bearer"),
)  # fmt: skip
ASSIGNED: Final = (
    r"[\"'`]{0,3}[ \t]{0,3}(?::=|=>|[:=|]| (?:is|es|ist|est) )?[ \t]{0,3}(?:bearer |basic )?[\"'`(\[]{0,3}"
)
"""Between the name of a secret and the secret."""

AZURE_SECRET: Final = Topic(within=("account key", "shared access key", "shared secret value"))


def _key(
    entity: str, form: str, begins: str, rest: str, least: int, most: int = 250, score: float = 0.95,
    check: Callable[[bytes], bool] | None = None,
) -> Recognizer:  # fmt: skip
    """A key that begins in a way of its own, with `least` to `most` characters of `rest` behind it."""
    end = "" if most > least else f"(?!{rest})"
    pattern = re.compile(f"(?<![A-Za-z0-9])(?:{begins}){rest}{{{least},{most}}}{end}".encode())
    anchor = Anchor(f"(?:^|[^A-Za-z0-9])(?:{begins}){rest}{{{least}}}", before=least + 32, after=most - least + 2)
    return Recognizer(entity, form, anchor, pattern, score, check)


def _jwt(data: bytes, span: Span) -> Span | None:
    """From the second part, which the pattern found, back to the beginning of the first."""
    before = data[max(0, span[0] - LONGEST_HEADER) : span[0]]
    header = before[len(before.rstrip(BASE64URL)) :]
    start = header.find(b"eyJ")
    return (span[0] - len(header) + start, span[1]) if start >= 0 else None


CLOUDS: Final = (
    _key("AWS_ACCESS_KEY", "an access key id, `AKIA` and the like", "AKIA|ASIA|ABIA|ACCA", "[A-Z0-9]", 16, 16),
    Recognizer(
        "AWS_ACCESS_KEY",
        "40 characters of Base64 after `secret access key`",
        Anchor(r"(?i)secret[ _-]?(?:access[ _-]?)?key[^A-Za-z0-9/+\n]{1,8}[A-Za-z0-9/+]{40}", before=72, after=2),
        re.compile(rb"(?i)secret[ _-]?(?:access[ _-]?)?key[^A-Za-z0-9/+\n]{1,8}([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"),
        0.8,
        checks.mixed,
        Topic(within=("secret key", "secret access key")),
        told=True,
    ),
    _key("GCP_API_KEY", "`AIza` and 35 characters", "AIza", r"[\w-]", 35, 35),
    _key("GCP_API_KEY", "the secret of an OAuth client, `GOCSPX-`", "GOCSPX-", r"[\w-]", 28, 28),
    _key("GCP_API_KEY", "an access token, `ya29.`", r"ya29\.", r"[\w-]", 20, 1000),
    Recognizer(
        "AZURE_KEY",
        "a key that carries its own signature (`JQQJ9`), as of Azure OpenAI",
        Anchor(r"[A-Za-z0-9]{12}JQQJ9[9DH]", before=60, after=40),
        re.compile(
            rb"(?<![A-Za-z0-9])(?=[A-Za-z0-9]{52}JQQJ9)"
            rb"[A-Za-z0-9]{52}JQQJ9[9DH][A-Za-z0-9][A-L][A-Za-z0-9]{16}[A-Za-z][A-Za-z0-9]{7}(?:[A-Za-z0-9]{2}==)?"
        ),
        0.95,
    ),
    Recognizer(
        "AZURE_KEY",
        "the key of a storage account or a service bus, in a connection string",
        Anchor(rf"(?i){AZURE_SECRET.expression}[\"']?[ \t]?[=:][ \t]?[\"']?[A-Za-z0-9/+]{{43}}", before=72, after=48),
        re.compile(
            rb"(?i)"
            + AZURE_SECRET.expression.encode()
            + rb"[\"']?[ \t]?[=:][ \t]?[\"']?([A-Za-z0-9/+]{43}(?:[A-Za-z0-9/+]{43}=)?=)"
        ),
        0.9,
        checks.mixed,
        AZURE_SECRET,
        told=True,
    ),
    Recognizer(
        "AZURE_KEY",
        "the key of a storage account that carries its own signature (`+ASt`)",
        Anchor(r"\+ASt[A-Za-z0-9/+]{5}[AQgw]==", before=92, after=2),
        re.compile(rb"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{76}\+ASt[A-Za-z0-9/+]{5}[AQgw]=="),
        0.95,
    ),
    Recognizer(
        "AZURE_KEY",
        "the secret of an application, `8Q~` in its fourth place",
        Anchor(r"(?:^|[^\w~.-])[\w~.-]{3}[0-9]Q~[\w~.-]{31}", before=38, after=6),
        re.compile(rb"(?<![\w~.-])(?=...[0-9]Q~)[\w~.-]{3}[0-9]Q~[\w~.-]{31,34}(?![\w~-])"),
        0.95,
    ),
)

PROVIDERS: Final = (
    _key("GITHUB_TOKEN", "`ghp_`, `gho_`, `ghu_`, `ghs_`, `ghr_`", "gh[pousr]_", "[A-Za-z0-9]", 36, 251),
    _key("GITHUB_TOKEN", "`github_pat_`", "github_pat_", r"\w", 22, 244),
    _key(
        "GITLAB_TOKEN", "`glpat-` and the other prefixes of GitLab",
        "gl(?:pat|dt|rt|ptt|cbt|ft|imt|agent|oas|soat)-", r"[\w-]", 20, 300,
    ),
    _key("SLACK_TOKEN", "`xoxb-` and the like, `xapp-`", "xox[abeoprs]-|xapp-", r"[\w-]", 10, 250),
    _key("SLACK_TOKEN", "an incoming webhook", r"hooks\.slack\.com/(?:services|workflows)/", r"[\w/]", 24, 80),
    _key("STRIPE_KEY", "`sk_live_`, `rk_live_`, those for tests, `whsec_`", "[sr]k_(?:live|test)_|whsec_", "[0-9A-Za-z]", 16),
    _key("OPENAI_API_KEY", "`sk-`, `sk-proj-`, ...", "sk-", r"[\w-]", 20, 250, 0.9, checks.openai),
    _key("ANTHROPIC_API_KEY", "`sk-ant-`", "sk-ant-", r"[\w-]", 20),
)  # fmt: skip

TOKENS: Final = (
    Recognizer(
        "JWT",
        "a signed token: a JSON header, a JSON payload, a signature",
        Anchor(r"eyJ[\w-]{4,}\.eyJ[\w-]{6}", before=12, after=64, run=re.compile(rb"[\w.-]*+"), longest=0),
        re.compile(rb"(?<=[\w-])\.eyJ[\w-]{4,}+(?:\.[\w-]*+)?"),
        0.9,
        checks.token,
        widen=_jwt,
    ),
    Recognizer(
        "PRIVATE_KEY",
        "PEM, whole or cut short, also on one line with `\\n`",
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
        "user and password of a URL, what is before `@`",
        Anchor(r"://[^\s/?#\"'<>@:]*:[^\s/?#\"'<>]+@[\w\[\x7f]", before=400, after=260),
        re.compile(rb"://([^\s/?#\"'<>@:]{0,128}:[^\s/?#\"'<>]{1,256})@(?=[\w\[\x7f])"),
        0.9,
    ),
    Recognizer(
        "GENERIC_SECRET",
        "20 characters or more that look random, assigned to a name that says secret",
        Anchor(rf"(?i){SECRET.expression}{ASSIGNED}[A-Za-z0-9_+/-][A-Za-z0-9_+/=~.-]{{19}}", before=72, after=240),
        re.compile(
            SECRET.strict + ASSIGNED.encode() + rb"(?<![a-z0-9_+/-])([a-z0-9_+/-][a-z0-9_+/=~.-]{18,238}[a-z0-9_+/=-])"
        ),
        0.7,
        checks.random,
        SECRET,
        told=True,
        lower=True,
    ),
)

CREDENTIALS: Final = (*CLOUDS, *PROVIDERS, *TOKENS)
