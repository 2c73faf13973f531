"""Our messages are Envoy's: held against xds-protos, which the gRPC project generates from Envoy's own files.

xds-protos overwrites files of other packages, so it lies in a folder of its own and is read in a process of its own. It is
older than Envoy 1.40; what it does not know yet is listed here, from the descriptors inside Envoy 1.40.0's binary.
"""

import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from .describe import describe

ROOT: Final = Path(__file__).parents[2]
XDS: Final = Path(os.environ.get("EXTPROC_XDS_PROTOS", ROOT / ".venv/xds-protos"))
V3: Final = "envoy.service.ext_proc.v3"

NEWER: Final[dict[str, dict[str, tuple[int, str, str]]]] = {
    f"{V3}.ProcessingResponse": {
        "streamed_immediate_response": (11, f"{V3}.StreamedImmediateResponse", "response"),
        "typed_dynamic_metadata": (13, f"{V3}.ProcessingResponse.TypedDynamicMetadataEntry", ""),
    },
    f"{V3}.ProcessingResponse.TypedDynamicMetadataEntry": {
        "key": (1, "", ""),
        "value": (2, "google.protobuf.Any", ""),
    },
    f"{V3}.StreamedImmediateResponse": {
        "headers_response": (1, f"{V3}.HttpHeaders", "response"),
        "body_response": (2, f"{V3}.StreamedBodyResponse", "response"),
        "trailers_response": (3, "envoy.config.core.v3.HeaderMap", "response"),
    },
}
"""Fields of Envoy 1.40 that xds-protos 1.85.0 lacks: number, type, oneof."""

LEFT_OUT: Final = {
    f"{V3}.HttpHeaders": {"attributes"},  # deprecated, never filled
    f"{V3}.HttpHeaders.AttributesEntry": {"key", "value"},
    f"{V3}.ProcessingResponse": {"request_drain"},  # number 11 there; in 1.40 that is streamed_immediate_response
}
"""Fields of xds-protos that ours lack on purpose."""


@pytest.fixture(scope="module")
def ours() -> Any:
    return json.loads(json.dumps(describe("extproc.wire.pb.external_processor_pb2")))


@pytest.fixture(scope="module")
def theirs() -> Any:
    if not XDS.is_dir():
        pytest.skip(f"no {XDS}: pip install --no-deps --target {XDS} xds-protos==1.85.0")
    command = [sys.executable, str(Path(__file__).with_name("describe.py")), f"{V3}.external_processor_pb2"]
    printed = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(XDS)}, check=True, capture_output=True)
    return json.loads(printed.stdout)


def test_the_method_is_envoys(ours: Any, theirs: Any) -> None:
    assert ours["methods"] == theirs["methods"]
    assert list(ours["methods"]) == [f"{V3}.ExternalProcessor/Process"]


def test_every_field_is_envoys(ours: Any, theirs: Any) -> None:
    compared = 0
    for message, fields in ours["fields"].items():
        for name, field in fields.items():
            if name in NEWER.get(message, ()):
                continue
            assert field == theirs["fields"][message][name], f"{message}.{name}"
            compared += 1
    assert compared > 60


def test_what_envoy_has_and_we_lack_is_known(ours: Any, theirs: Any) -> None:
    missing = {
        message: absent
        for message, fields in theirs["fields"].items()
        if (absent := set(fields) - set(ours["fields"].get(message, ())))
    }
    assert missing == LEFT_OUT


def test_what_we_have_and_xds_protos_lacks_is_known(ours: Any, theirs: Any) -> None:
    more = {
        message: set(added)
        for message, fields in ours["fields"].items()
        if (added := set(fields) - set(theirs["fields"].get(message, ())))
    }
    assert more == {message: set(fields) for message, fields in NEWER.items()}


def test_the_newer_fields_have_the_numbers_of_envoy_1_40(ours: Any) -> None:
    for message, fields in NEWER.items():
        for name, (number, of, oneof) in fields.items():
            found = ours["fields"][message][name]
            assert (found["number"], found["of"], found["oneof"]) == (number, of, oneof), f"{message}.{name}"


def test_every_enum_is_envoys(ours: Any, theirs: Any) -> None:
    assert ours["enums"] == theirs["enums"]


def test_the_stubs_are_those_of_the_proto_files(tmp_path: Path) -> None:
    """`proto/generate.sh` was run after the last change."""
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([str(ROOT / "proto/generate.sh"), str(tmp_path)], env=environment, check=True)
    made, kept = tmp_path / "extproc/wire/pb", ROOT / "src/extproc/wire/pb"
    names = sorted(path.name for path in made.iterdir())
    assert names == sorted(path.name for path in kept.glob("*_pb2*.py*"))
    assert filecmp.cmpfiles(made, kept, names, shallow=False) == (names, [], [])
