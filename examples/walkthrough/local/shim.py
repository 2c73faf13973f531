#!/usr/bin/env -S python3 -IS
"""Stands for a command of a cluster under its name, `kubectl`, or inside a pod `curl` and `getent`: asks `desk.py` what comes
of it. Nothing but the standard library, and that only in part: it is started for each command.
"""

import json
import os
import socket
import sys
from pathlib import Path


def main() -> int:
    wants_input = "-i" in sys.argv or "-" in sys.argv
    request = {
        "name": Path(sys.argv[0]).name,
        "argv": sys.argv[1:],
        "cwd": str(Path.cwd()),
        "pod": os.environ.get("WALKTHROUGH_POD", ""),
        "stdin": sys.stdin.read() if wants_input else "",
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(Path(sys.argv[0]).parent / "desk.sock"))
        connection.sendall(json.dumps(request).encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        answer = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
    if "run" in answer:
        os.execv(answer["run"][0], answer["run"])  # noqa: S606 - what the desk says
    sys.stdout.write(answer["out"])
    sys.stderr.write(answer["err"])
    return int(answer["code"])


if __name__ == "__main__":
    sys.exit(main())
