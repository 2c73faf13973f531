"""PIIDetector: bodies that it cannot read, or not in time."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson
import pytest

from tests.e2e.gateway import AUTHN, INJECT, TOKEN, backend, gateway, policy
from tests.e2e.processes import Stub
from tests.faults.matrix import CLOSED, Cell, Expected, Matrix, Table, closed, denied, opened
from tests.faults.observer import Limit, Observer

pytestmark = pytest.mark.e2e

TIMEOUT: Final = Limit("at most its `timeout`", 0.8)
SHORT: Final = Limit("at most its `timeout`", 0.001)
JSON: Final = "application/json"
ALL: Final = list(CLOSED)
UNPROCESSED: Final = "the request, with the key, the body unprocessed"
VARIANTS: Final[Mapping[str, str]] = MappingProxyType(
    {"closed": "`failOpen: false`", "open": "`failOpen: true`", "all": "`failOpen: true, every cause in failOpenOn`"}
)
MALFORMED: Final[Mapping[str, tuple[str, bytes]]] = MappingProxyType(
    {
        "JSON that ends too early": (JSON, b'{"a": "jane@example.com"'),
        "JSON with a member twice": (JSON, b'{"a": "x", "a": "jane@example.com"}'),
        "text that is no UTF-8": ("text/plain", b"jane@example.com \xff"),
        "a charset that is not UTF-8": ("text/plain; charset=utf-16", "jane@example.com".encode("utf-16")),
    }
)
TOO_LARGE: Final[Mapping[str, tuple[str, bytes]]] = MappingProxyType(
    {
        "a body over `maxBodyBytes`": ("text/plain", b"jane@example.com " * 5000),
        "JSON deeper than 64": (JSON, b"[" * 65 + b'"jane@example.com"' + b"]" * 65),
        "JSON of more than 50,000 values": (JSON, b"[" + b",".join([b"1"] * 50_001) + b"]"),
    }
)
SLOW: Final = "a body for which there is no time"
SLOW_BODY: Final = orjson.dumps(["jane@example.com and more"] * 40_000)
UNKNOWN: Final = "nothing; the media type is not read"
BLOCKED: Final = "nothing; there is personal data, and the style is `block`"


def cell(fault: str, variant: str, more: str = "") -> Cell:
    return Cell(fault, "a client", "request-body", f"{VARIANTS[variant]}{more}")


CELLS: Final = [
    *(cell(fault, variant) for fault in (*TOO_LARGE, *MALFORMED) for variant in VARIANTS),
    *(cell(SLOW, variant) for variant in VARIANTS),
    *(cell(UNKNOWN, variant, ", `unknownBody: deny`") for variant in VARIANTS),
    *(cell(BLOCKED, variant) for variant in VARIANTS),
]
TABLE: Final = Table(
    "PIIDetector",
    "It asks nobody, so what fails is the body. A caller provokes these causes at will: `failOpen: true` alone covers none of "
    "them but the time, and a body that is let through so has its personal data in it.",
    CELLS,
)


def pii(kind: str, variant: str, **config: Any) -> dict[str, Any]:
    fails: dict[str, Any] = {"failOpen": variant != "closed", **({"failOpenOn": ALL} if variant == "all" else {})}
    name = f"{kind}-{variant}"
    return {
        "name": name,
        "type": "PIIDetector:v1",
        "phase": "request-body",
        "priority": 20,
        "timeout": "1ms" if kind == "slow" else "800ms",
        "when": f'request.headers["x-run"] == "{name}"',
        "config": config,
        **fails,
    }


@pytest.fixture(scope="module")
def observer(stub: Stub) -> Iterator[Observer]:
    extensions = []
    for variant in VARIANTS:
        extensions += [
            pii("small", variant, maxBodyBytes=65536),
            pii("large", variant, maxBodyBytes=2 * 1024 * 1024),
            pii("slow", variant, maxBodyBytes=2 * 1024 * 1024),
            pii("unknown", variant, unknownBody="deny"),
            pii("block", variant, redactionStyle="block"),
        ]
    with gateway(policy(AUTHN), backend(stub.port, INJECT, *extensions), budget="2s") as gate:
        seen = Observer(gate, stub, TOKEN)
        yield seen
        seen.close()


def tried(
    observer: Observer, matrix: Matrix, where: Cell, kind: str, variant: str, want: Expected, limit: Limit,
    media: str, body: bytes,
) -> None:  # fmt: skip
    name = f"{kind}-{variant}"
    seen = observer.ask(name, "POST", headers=[("content-type", media)], body=body)
    result = observer.judge(seen, want, [name], limit, body)
    matrix.add(TABLE.title, where, result, limit.ratio(seen.waited))


def wanted(cause: str, variant: str) -> Expected:
    covered = variant == "all" or (variant == "open" and cause == "timeout")
    return opened(cause, UNPROCESSED) if covered else closed(cause)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("fault", [*TOO_LARGE, *MALFORMED])
def test_a_body_that_cannot_be_read(observer: Observer, matrix: Matrix, fault: str, variant: str) -> None:
    cause = "too-large" if fault in TOO_LARGE else "malformed"
    kind = "large" if "values" in fault else "small"
    media, body = {**TOO_LARGE, **MALFORMED}[fault]
    tried(observer, matrix, cell(fault, variant), kind, variant, wanted(cause, variant), TIMEOUT, media, body)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_time(observer: Observer, matrix: Matrix, variant: str) -> None:
    want = wanted("timeout", variant)
    tried(observer, matrix, cell(SLOW, variant), "slow", variant, want, SHORT, JSON, SLOW_BODY)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_decision_is_no_failure(observer: Observer, matrix: Matrix, variant: str) -> None:
    where, want = cell(UNKNOWN, variant, ", `unknownBody: deny`"), denied(415, "body_unsupported")
    tried(observer, matrix, where, "unknown", variant, want, TIMEOUT, "image/png", b"jane@example.com")
    where, want = cell(BLOCKED, variant), denied(403, "pii_blocked")
    tried(observer, matrix, where, "block", variant, want, TIMEOUT, JSON, b'["jane@example.com"]')


def test_what_can_be_read_is_redacted_again(observer: Observer) -> None:
    for variant in VARIANTS:
        body = b'["jane@example.com"]'
        seen = observer.ask(f"small-{variant}", "POST", headers=[("content-type", JSON)], body=body)
        assert not seen.counted
        assert [request.body for request in seen.arrived] == [b'["[EMAIL_ADDRESS]"]']


def test_every_skip_is_marked(observer: Observer) -> None:
    observer.marked()
