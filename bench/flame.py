"""`python -m bench.flame FILE.svg`: where the time of a server with all four filters goes, as a flame graph and as shares.

py-spy (Ben Frederickson) samples the process from outside while ghz calls it: `pip install py-spy`, which is no dependency of
anything here.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import ghz
from bench.direct import WARM_UP, Running, alone
from bench.legs import Server, four_in_memory
from bench.section import Column, Section

SECONDS = 15
A_SECOND = 250
"""Samples."""

TITLE = re.compile(r'(<text id="title"[^>]*>)[^<]*(</text>)')

WAITING = "wait (threading.py"
"""A thread with nothing to do, which py-spy takes for busy now and then."""

LAYERS = (
    ("(extproc_filters/pii", "filters: PIIDetector"),
    ("(extproc_filters/", "filters: the other three, and their stores"),
    ("(extproc/telemetry/", "telemetry"),
    ("(extproc/wire/codec.py", "codec"),
    ("(extproc/wire/pace.py", "engine"),
    ("(extproc/core/", "engine"),
    ("(extproc/policy/", "engine"),
    ("", "transport: HTTP/2, gRPC, the event loop, the kernel"),
)
"""Whose a sample is: that of the first of these in which one of its frames is, from the innermost outwards."""


def main() -> int:
    parser = argparse.ArgumentParser("bench.flame", description="Draw where the time of a request goes.")
    parser.add_argument("file", type=Path, help="the picture to write")
    file: Path = parser.parse_args().file
    with alone(four_in_memory(Server.HTTP2)) as running, tempfile.TemporaryDirectory() as folder:
        ghz.many(running.socket, running.data, WARM_UP)
        stacks = Path(folder) / "stacks"
        cpu = _record(running, stacks, "raw")
        _record(running, file, "flamegraph")
        file.write_text(titled(file.read_text()))
        print(section(shares(stacks.read_text().splitlines()), cpu).markdown())
    return 0


def titled(picture: str) -> str:
    """With what it is of, in place of the command that drew it (which names folders of this machine)."""
    return TITLE.sub(r"\1where the time of four filters goes\2", picture)


def shares(lines: Iterable[str]) -> Counter[str]:
    """Samples of each layer. A line is a stack (its frames separated by `;`, the innermost last), and how often it was seen."""
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, number = line.rpartition(" ")
        if WAITING not in stack:
            found[_layer(stack.split(";"))] += int(number)
    return found


def section(found: Counter[str], cpu: float) -> Section:
    rows = tuple(
        (name, number / found.total() * 100, number / found.total() * cpu) for name, number in found.most_common()
    )
    columns = Column("layer"), Column("share", ".0f", " %"), Column("for each conversation", ".0f", " µs")
    return Section("Where the time goes", f"Of {cpu:.0f} µs of CPU for each conversation.", columns, rows)


def _layer(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        for part, name in LAYERS[:-1]:
            if part in frame:
                return name
    return LAYERS[-1][1]


def _record(running: Running, file: Path, form: str) -> float:
    """Microseconds of CPU for each conversation meanwhile. Raises: RuntimeError."""
    argv = [str(Path(sys.executable).with_name("py-spy")), "record", f"--pid={running.pid}", f"--rate={A_SECOND}"]
    spying = subprocess.Popen([*argv, f"--duration={SECONDS}", "--function", f"--format={form}", f"--output={file}"])
    _, cpu = running.closed(SECONDS)
    if spying.wait(timeout=60):
        raise RuntimeError("py-spy could not look into the server: it must be installed, and allowed to (ptrace)")
    return cpu


if __name__ == "__main__":
    sys.exit(main())
