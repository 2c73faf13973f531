"""What an exchange has cost, where Envoy's other filters look for it: in dynamic metadata, under the names of the operator."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest

from extproc.envoy import listener
from tests.e2e.gateway import AUTHN, INJECT, KEY, TRANSPORT, Gateway, backend, gateway, policy
from tests.e2e.processes import Stub, wait_until
from tests.e2e.speaking import wishes
from tests.e2e.test_token_limits import BUDGET, tokens

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(TRANSPORT == "inprocess", reason="in-process the command itself configures Envoy, and its log"),
]

NAMESPACE = "io.envoy.ai_gateway"


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    told = listener.access_log

    def with_usage() -> Mapping[str, Any]:
        """As it is, and what a filter would read: the whole namespace, and one number as a rate limit's cost is formatted."""
        log: Any = told()
        log["typed_config"]["log_format"]["json_format"] |= {
            "usage": f"%DYNAMIC_METADATA({NAMESPACE})%",
            "cost": f"%DYNAMIC_METADATA({NAMESPACE}:llm_total_token)%",
        }
        return log

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener, "access_log", with_usage)
        documents = policy(AUTHN, tokens()), backend(stub.port, INJECT)
        with gateway(*documents, usageMetadata={"namespace": NAMESPACE, "limit": "token_limit"}) as running:
            yield running


def logged(gate: Gateway, method: str, number: int) -> dict[str, Any]:
    """The line that request `number` (from 0) of this method left in the access log."""
    log = gate.directory / "envoy.log"

    def lines() -> list[dict[str, Any]]:
        found = [orjson.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line["method"] == method]

    wait_until(lambda: len(lines()) > number)
    return lines()[number]


def ask(gate: Gateway, path: str, *, stream: bool, **wanted: str) -> int:
    body = {"model": "e", "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    headers = [("content-type", "application/json"), ("x-bucket", path), *wishes(**wanted).items()]
    return gate.send("POST", path, headers=headers, body=orjson.dumps(body)).status


def test_the_usage_is_where_others_look(gate: Gateway) -> None:
    for number, stream in enumerate((False, True)):
        assert ask(gate, "/v1/chat/completions", stream=stream, usage=f"30/{number}") == 200
        line = logged(gate, "POST", number)
        limit = line["usage"].pop("token_limit")
        assert limit == {"requests_per_unit": BUDGET, "unit": "HOUR"}
        assert line["usage"] == {"llm_input_token": 30, "llm_output_token": number, "llm_total_token": 30 + number}
        assert line["cost"] == 30 + number
        assert KEY not in orjson.dumps(line).decode()


def test_what_told_no_usage_has_its_limit_alone(gate: Gateway) -> None:
    assert gate.send("GET", "/nothing", headers=[("x-bucket", "none")]).status == 200
    assert set(logged(gate, "GET", 0)["usage"]) == {"token_limit"}
