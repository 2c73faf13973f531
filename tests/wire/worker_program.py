"""A worker that serves nothing: `python worker_program.py FOLDER INDEX DEED`. It leaves its pid in FOLDER/INDEX."""

import os
import signal
import sys
import threading
from pathlib import Path

from extproc.workers import tether


def main(folder: Path, index: str, deed: str) -> None:
    tie = tether()
    assert tie is not None
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with (folder / f"{index}.starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    if deed == "refuse":
        sys.exit(2)
    if deed == "die":
        sys.exit(7)
    tie.ready()
    while deed == "deaf" or not stopped.is_set():
        stopped.wait(0.05)
    (folder / f"{index}.drained").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
