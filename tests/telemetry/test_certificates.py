"""Until when certificates are good, as the metrics and the status say."""

import os
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from extproc.reload.source import Source
from extproc.telemetry.certificates import Certificates, validity
from extproc.worker import Worker
from tests.certificates import Authority
from tests.reload.making import write

ADDRESS = "127.0.0.1:9443"
NAME = "extproc_certificate_not_{}_timestamp_seconds"


def read(registry: CollectorRegistry, which: str) -> float | None:
    return registry.get_sample_value(NAME.format(which), {"listener": ADDRESS})


def test_it_is_told_as_the_file_is_now(tmp_path: Path) -> None:
    registry, path = CollectorRegistry(), tmp_path / "listener.pem"
    certificates = Certificates({ADDRESS: path})
    registry.register(certificates)
    assert read(registry, "after") is None
    assert certificates.status() == {ADDRESS: None}

    path.write_bytes(Authority(tmp_path).issue("extproc.example").cert.read_bytes())
    begins, ends = read(registry, "before"), read(registry, "after")
    assert begins is not None
    assert ends is not None
    assert ends - begins == 25 * 3600
    told = certificates.status()[ADDRESS]
    assert told is not None
    assert datetime.fromisoformat(told["notAfter"]).timestamp() == ends
    assert told["notBefore"].endswith("Z")


def test_a_chain_is_as_good_as_its_worst_part(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    leaf, chain = authority.issue("extproc.example").cert, tmp_path / "chain.pem"
    chain.write_bytes(leaf.read_bytes() + authority.file.read_bytes())
    both, (one, other) = validity(chain), (validity(leaf), validity(authority.file))
    assert both is not None
    assert one is not None
    assert other is not None
    assert (both.begins, both.ends) == (max(one.begins, other.begins), min(one.ends, other.ends))


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_has_no_time(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "listener.pem"
    path.write_bytes(content)
    assert validity(path) is None
    assert validity(tmp_path) is None


@pytest.mark.timeout(20)
def test_a_pipe_in_the_place_of_a_certificate_is_not_waited_for(tmp_path: Path) -> None:
    """Whoever asks for the status asks the loop that serves exchanges."""
    os.mkfifo(tmp_path / "listener.pem")
    assert validity(tmp_path / "listener.pem") is None


async def test_a_process_tells_of_its_listeners(tmp_path: Path) -> None:
    issued, authority = Authority(tmp_path).issue("extproc.example"), "ca-test-authority.pem"
    tls = {"cert": issued.cert.name, "key": issued.key.name, "clientCA": authority, "allowedClients": ["envoy.example"]}
    listen = [{"address": ADDRESS, "tls": tls}, {"address": f"unix://{tmp_path}/extproc.sock"}]
    worker = Worker(Source(write(tmp_path, listen=listen)).start(), f"unix://{tmp_path}/admin.sock", lambda: 0)
    try:
        assert list(worker._status()["certificates"]) == [ADDRESS]
        assert (
            worker._status()["certificates"][ADDRESS]["notAfter"]
            > worker._status()["certificates"][ADDRESS]["notBefore"]
        )
    finally:
        await worker.stop()
