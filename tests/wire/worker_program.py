"""A worker that serves nothing: `python worker_program.py FOLDER INDEX DEED`. It leaves its pids in FOLDER/INDEX.starts, and
what shows its keys to be the same, or not, in FOLDER/INDEX.keys.
"""

import os
import signal
import sys
import threading
from hashlib import sha256
from pathlib import Path

from extproc.tether import KEY, shared_key, tether


def main(folder: Path, index: str, deed: str) -> None:
    tie = tether()
    assert tie is not None
    key = shared_key()
    assert key is not None
    assert KEY not in os.environ
    assert shared_key() is None
    with (folder / f"{index}.keys").open("a") as keys:
        keys.write(f"{sha256(key).hexdigest()}\n")
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
