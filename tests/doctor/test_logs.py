"""What an access log may have, by what the server injects. That Envoy takes such logs is seen with the other cases."""

from pathlib import Path
from typing import Any

import pytest

from extproc.doctor.headers import CREDENTIALS
from extproc.doctor.logs import of_logs
from extproc.doctor.needs import Needs, needs_of
from extproc.doctor.roads import Manager
from extproc.envoy.replies import access_log
from extproc.policy.describe import status
from extproc.reload.source import Source
from extproc_filters.credential_injector import OWN_HEADERS
from tests.reload.making import put, write


def problems(logger: dict[str, Any], *, query: bool) -> list[str]:
    needs = Needs(False, False, 0, 1.0, (), injects=True, injects_query=query)
    manager = Manager("listener egress", {"access_log": [logger]}, 0, (), (), (), ())
    return [one.problem for one in of_logs(manager, needs)]


def grpc(*headers: str) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
    return {"typed_config": {"@type": kind, "additional_request_headers_to_log": list(headers)}}


def test_what_is_a_credential_is_what_the_injector_removes() -> None:
    assert sorted(CREDENTIALS) == sorted(OWN_HEADERS)


def test_a_list_of_headers_names_a_credential() -> None:
    [problem] = problems(grpc("x-team", "Authorization"), query=False)
    assert problem == "its access log has authorization: the credential that the destination got"


@pytest.mark.parametrize("query", [False, True])
def test_the_generated_log_has_none(query: bool) -> None:
    assert problems(access_log(), query=query) == []


def test_the_path_matters_only_where_a_credential_is_in_it() -> None:
    assert problems(grpc(), query=False) == []
    assert len(problems(grpc(), query=True)) == 1


def test_the_server_says_whether_one_is(tmp_path: Path) -> None:
    path = write(tmp_path)
    said = []
    for _ in range(2):
        needs = needs_of(status(Source(path).start().resolved))
        assert needs is not None
        said.append(needs.injects_query)
        put(path, path.read_text().replace("field: api_key\n", "field: api_key\n      query: key\n"))
    assert said == [False, True]
