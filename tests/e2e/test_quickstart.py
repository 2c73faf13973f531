"""The quickstart, as a newcomer runs it: one command, the pasted requests, and Ctrl-C."""

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import orjson
import pytest

from tests.e2e.processes import Process, Stub, free_port, short_directory
from tests.e2e.speaking import SPEECHES

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart"
ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Write to jane@example.com"}]}
KEY = ["authorization", "Bearer sk-quickstart-no-real-key"]


@contextmanager
def running(stub: Stub) -> Iterator[tuple[Process, str]]:
    """`extproc run` on a copy of the example with ports and sockets of its own, and the gateway's address."""
    with short_directory() as directory:
        shutil.copytree(EXAMPLE, directory / "example")
        config, port = directory / "example" / "extproc.yaml", free_port()
        text = config.read_text().replace("port: 8001", f"port: {stub.port}").replace(":10000", f":{port}")
        text = text.replace("/tmp/extproc-quickstart", f"{directory}/run")
        config.write_text(
            text.replace("gateway: egress/egress", f"gateway: egress/egress\nadmin: 127.0.0.1:{free_port()}")
        )
        argv = (sys.executable, "-m", "extproc", "run", "--config", str(config))
        process = Process(argv, directory / "run.log")
        try:
            process.wait_until(lambda: f"http://127.0.0.1:{port}" in process.output)
            yield process, f"http://localhost:{port}"
        finally:
            process.stop(signal.SIGINT)


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(other for child in children for other in descendants(child))]


def pasted(text: str, url: str, stub: Stub) -> list[bytes]:
    """What the curl commands of a text answer, in their order, run as they are but for the ports."""
    commands = re.findall(r"^ *(curl (?:'[^']*'|[^'\n\\]|\\\n)*)$", text, re.MULTILINE)
    moved = [one.replace("http://localhost:10000", url).replace(":8001", f":{stub.port}") for one in commands]
    return [subprocess.run(["bash", "-c", one], capture_output=True, check=True).stdout for one in moved]


PAGES = {
    "its page": (EXAMPLE / "README.md").read_text(),
    "the first page": (EXAMPLE.parents[1] / "README.md").read_text(),
    "what make run says": runpy.run_path(str(EXAMPLE / "run.py"))["READY"],
}
TELL = "Tell {} that {} was charged."


def test_the_quickstart(stub: Stub) -> None:
    """All in one minute, in which five calls are free."""
    with running(stub) as (process, url):
        chat = f"{url}/v1/chat/completions"
        token = {"authorization": "Bearer demo-token"}
        for name, page in PAGES.items():
            does_what_is_written(name, *pasted(page, url, stub))
        with openai.OpenAI(base_url=f"{url}/v1", api_key="demo-token", max_retries=0) as client:
            linked = client.chat.completions.create(**asking("See https://example.com/?q=jane@example.com"))
        assert linked.choices[0].message.content == "See https://example.com/?q=[EMAIL_ADDRESS_1]"
        assert httpx.post(chat, json=ASKED).status_code == 401
        other = {"authorization": "Bearer other-team-token"}
        assert httpx.post(chat, json=ASKED, headers=other).status_code == 403
        assert httpx.post(chat, json=ASKED, headers={**token, "host": "api.example.com"}).status_code == 403
        assert [httpx.post(chat, json=ASKED, headers=token).status_code for _ in range(2)] == [200, 429]
        below = descendants(process.popen.pid)
        assert process.stop(signal.SIGINT) == 130
        assert len(below) >= 2
        assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]
        assert "Traceback" not in process.output


def asking(text: str) -> dict:
    return {"model": "echo", "messages": [{"role": "user", "content": text}]}


def does_what_is_written(name: str, stream: bytes, view: bytes) -> None:
    """The caller reads the originals, piece by piece, and the stub's view shows placeholders."""
    assert SPEECHES["chat"].heard(stream) == TELL.format("jane@example.com", "4111 1111 1111 1111"), name
    assert stream.count(b"data: ") > 8
    received = orjson.loads(view)
    assert KEY in received["headers"]
    prompt = orjson.loads(received["body"])["messages"][0]["content"]
    assert prompt == TELL.format("[EMAIL_ADDRESS_1]", "[CREDIT_CARD_1]")
    assert "jane" not in str(received)


def test_its_pages_say_what_is_seen() -> None:
    seen = f"`{TELL.format('[EMAIL_ADDRESS_1]', '[CREDIT_CARD_1]')}`"
    assert all(text in PAGES[page] for page in ("its page", "the first page") for text in (seen, KEY[1]))


@pytest.mark.parametrize("victim", ["envoy", "serve"])
def test_if_one_ends_both_end_with_a_sentence(stub: Stub, victim: str) -> None:
    with running(stub) as (process, _):
        below = descendants(process.popen.pid)
        (pid,) = [one for one in below if victim in Path(f"/proc/{one}/cmdline").read_text()]
        os.kill(pid, signal.SIGKILL)
        assert process.wait() == 1
        name = {"envoy": "Envoy", "serve": "the ext_proc server"}[victim]
        assert f"error: {name} ended by signal SIGKILL" in process.output
        assert not [one for one in below if Path(f"/proc/{one}").exists()]


def test_its_readme_shows_what_is_configured() -> None:
    readme, config = (EXAMPLE / "README.md").read_text(), (EXAMPLE / "extproc.yaml").read_text()
    port = re.search(r"listen: 127\.0\.0\.1:(\d+)", config)
    assert port is not None
    assert f"http://localhost:{port[1]}/v1/chat/completions" in readme
    assert (EXAMPLE / "secrets/ai-workloads/default/api_key").read_text() in readme
    assert "Bearer demo-token" in readme
