"""A pod of the sidecar's that is told to end: its callers are sent elsewhere while everything is still served."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
import yaml

from extproc.envoy.binary import command, find_envoy
from extproc.envoy.bootstrap import text
from tests.deploy import rendered
from tests.deploy.rendered import KUSTOMIZE, overlay, pod_of, run
from tests.e2e.processes import Process, envoy_live, free_port, short_directory

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(rendered.NO_KUSTOMIZE), reason=rendered.NO_KUSTOMIZE),
]

RUN = "/run/egress"


def bootstrap(folder: Path, port: int) -> str:
    """The sidecar's own, with addresses of this machine. Nobody is asked: its providers are away, and extproc is."""
    config = yaml.safe_load((KUSTOMIZE / "overlays" / "sidecar" / "envoy.yaml").read_text().replace(RUN, str(folder)))
    static = config["static_resources"]
    static["listeners"][0]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    ext_proc, *providers = static["clusters"]
    static["clusters"] = [ext_proc, *({"name": each["name"], "connect_timeout": "1s"} for each in providers)]
    return text(config)


@pytest.fixture
def place() -> Iterator[tuple[Path, int]]:
    """A running one: its folder, and the port of its listener."""
    port = free_port()
    with short_directory() as folder:
        (folder / "envoy.yaml").write_text(bootstrap(folder, port))
        envoy = Process(command(find_envoy(os.environ), folder / "envoy.yaml", concurrency=1), folder / "envoy.log")
        try:
            envoy.wait_until(lambda: envoy_live(folder / "envoy-admin.sock"))
            yield folder, port
        finally:
            envoy.stop()


def asked(caller: HTTPConnection) -> tuple[int, bool]:
    """The status of an answer, and whether the connection ends with it."""
    caller.request("GET", "/v1/models", headers={"host": "api.openai.com"})
    answer = caller.getresponse()
    answer.read()
    return answer.status, answer.will_close


def test_what_extproc_says_first_sends_callers_elsewhere(place: tuple[Path, int]) -> None:
    """The very command of its preStop hook, which runs when the pod begins to end (KEP-753), while Envoy's own still sleeps."""
    folder, port = place
    extproc = pod_of(overlay("sidecar"))["initContainers"][1]
    program, flag, code = extproc["lifecycle"]["preStop"]["exec"]["command"]
    assert (program, flag) == ("/usr/bin/python3", "-c")
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as old:
        assert [asked(old), asked(old)] == [(503, False), (503, False)]
        run([sys.executable, flag, code.replace(RUN, str(folder))])
        assert asked(old) == (503, True)
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as late:
        assert asked(late) == (503, True)
