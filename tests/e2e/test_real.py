"""The quickstart on real parts, as a newcomer runs it: one command, the pasted request, and Ctrl-C."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.adapters.redis_server import BINARY, MISSING
from tests.e2e.processes import Process, free_port, short_directory
from tests.e2e.test_quickstart import ASKED, descendants
from tests.servers import bao

EXAMPLE = Path(__file__).parents[2] / "examples" / "real"
CONFIG = (EXAMPLE / "extproc.yaml").read_text()
TOKEN = {"authorization": "Bearer demo-token"}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(BINARY is None, reason=MISSING),
    pytest.mark.skipif(bool(bao.MISSING), reason=bao.MISSING),
]


@contextmanager
def started(environ: dict[str, str] | None = None, config: str = CONFIG) -> Iterator[tuple[Process, str, Path]]:
    """A copy of the example with ports and sockets of its own: its process, the admin port, and where its sockets are."""
    with short_directory() as directory:
        copy = Path(shutil.copytree(EXAMPLE, directory / "example"))
        run, text, admin = directory / "run", config, f"127.0.0.1:{free_port()}"
        for old, new in (
            ("/tmp/extproc-real", str(run)),
            ("127.0.0.1:9090", admin),
            *((f":{port}", f":{free_port()}") for port in (10000, 18200)),
            ("port: 8001", f"port: {free_port()}"),
        ):
            assert old in text
            text = text.replace(old, new)
        (copy / "extproc.yaml").write_text(text)
        process = Process((sys.executable, str(copy / "run.py")), directory / "run.log", environ)
        try:
            yield process, admin, run
        finally:
            process.stop()


@contextmanager
def running() -> Iterator[tuple[Process, str, str, Path]]:
    """The same, ready; and the URL of a chat."""
    with started() as (process, admin, run):
        process.wait_until(lambda: "Ctrl-C ends everything" in process.output)
        process.wait_until(lambda: httpx.get(f"http://{admin}/readyz").status_code == 200)
        [url] = re.findall(r"curl -i (http://\S+)", process.output)
        yield process, url, admin, run


def doctor(directory: Path, admin: str, run: Path) -> tuple[int, str]:
    argv = (sys.executable, "-m", "extproc", "doctor", "--admin", admin)
    process = Process((*argv, "--envoy-admin", f"unix://{run}/envoy-admin.sock"), directory / "doctor.log")
    code = process.wait()
    return code, process.output


def named(pid: int, name: str) -> list[int]:
    """The processes below `pid` that run this program."""
    return [one for one in descendants(pid) if Path(f"/proc/{one}/exe").resolve().name.startswith(name)]


def test_it_serves_from_redis_and_bao_and_leaves_nothing(tmp_path: Path) -> None:
    with running() as (process, url, admin, run):
        answer = httpx.post(url, json=ASKED, headers=TOKEN)
        assert answer.status_code == 200, answer.text
        received = answer.json()["x_received"]
        assert ["authorization", "Bearer sk-real-parts-no-real-key"] in received["headers"]
        assert "[EMAIL_ADDRESS]" in received["body"]
        assert httpx.post(url, json=ASKED).status_code == 401
        statuses = [httpx.post(url, json=ASKED, headers=TOKEN).status_code for _ in range(6)]
        assert statuses == [200] * 4 + [429] * 2, "five calls for both workers together"
        second = Process(tuple(process.popen.args), tmp_path / "second.log")
        assert (second.wait(), f"another process has its sockets in {run}" in second.output) == (2, True)
        assert doctor(tmp_path, admin, run)[0] == 0, "the first goes on"
        assert run.stat().st_mode & 0o777 == 0o700
        below = descendants(process.popen.pid)
        knowing = [pid for pid in below if b"BAO_DEV_ROOT_TOKEN_ID" in Path(f"/proc/{pid}/environ").read_bytes()]
        assert knowing == named(process.popen.pid, "bao"), "nobody else has the root token"
        assert process.stop(signal.SIGINT) == 0
        assert len(below) >= 7  # the server and its two workers, Envoy, the stub, Redis, OpenBao
        assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]
        assert not run.exists()
        assert not [text for text in ("Traceback", "sk-real-parts", "Root Token") if text in process.output]


def test_without_redis_it_goes_on_and_without_bao_it_says_that_it_is_not_ready(tmp_path: Path) -> None:
    with running() as (process, url, admin, run):
        assert httpx.post(url, json=ASKED, headers=TOKEN).status_code == 200
        (redis,) = named(process.popen.pid, "redis-")
        os.kill(redis, signal.SIGKILL)
        assert httpx.post(url, json=ASKED, headers=TOKEN).status_code == 200

        def told() -> str:
            return doctor(tmp_path, admin, run)[1]

        process.wait_until(lambda: "dependency redis: " in told())
        assert httpx.get(f"http://{admin}/readyz").status_code == 200
        (server,) = named(process.popen.pid, "bao")
        os.kill(server, signal.SIGKILL)
        process.wait_until(lambda: httpx.get(f"http://{admin}/readyz").status_code == 503)
        why = httpx.get(f"http://{admin}/readyz").text
        assert re.search(r"(?m)^worker \d: vault:secret/provider-keys: .+", why)
        assert "redis" not in why
        assert "dependency vault: " in told()


def test_a_program_that_is_not_there_is_named() -> None:
    with started({**os.environ, "PATH": "/nonexistent"}) as (process, _, run):
        assert process.wait() == 2
        assert "error: there is no redis-server on this machine: apt-get install redis-server" in process.output
        assert not run.exists()


def test_a_vault_that_it_cannot_prepare_is_refused() -> None:
    with started(config=re.sub(r"auth: .*", "auth: {token: {path: token}}", CONFIG)) as (process, _, run):
        assert process.wait() == 2
        assert "error: " in process.output
        assert "must have connections to Redis and, with auth.approle, to Vault" in process.output
        assert not run.exists()


def test_a_directory_of_somebody_else_is_refused() -> None:
    with started() as (process, _, run):
        run.mkdir()
        run.chmod(0o777)
        assert process.wait() == 2
        assert "is not a directory that only you can open" in process.output
        assert run.exists()


def test_its_readme_shows_what_is_configured() -> None:
    readme = (EXAMPLE / "README.md").read_text()
    port = re.search(r"envoy: \{listen: 127\.0\.0\.1:(\d+)", CONFIG)
    assert port is not None
    assert f"http://localhost:{port[1]}/v1/chat/completions" in readme
    assert "sk-real-parts-no-real-key" in readme
    assert "unix:///tmp/extproc-real/envoy-admin.sock" in readme
    assert "unix:///tmp/extproc-real/envoy-admin.sock" in CONFIG
