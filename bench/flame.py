"""`python -m bench.flame FILE.svg`: where the time of a server with all four filters goes, as a flame graph.

py-spy (Ben Frederickson) samples the process from outside while ghz calls it: `pip install py-spy`, which is no dependency of
anything here.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from bench import ghz
from bench.direct import WARM_UP, alone
from bench.legs import Leg, Server

SECONDS = 15
A_SECOND = 250
"""Samples."""


def main() -> int:
    parser = argparse.ArgumentParser("bench.flame", description="Draw where the time of a request goes.")
    parser.add_argument("file", type=Path, help="the picture to write")
    file: Path = parser.parse_args().file
    with alone(Leg(Server.HTTP2, "four filters", "four")) as running:
        ghz.many(running.socket, running.data, WARM_UP)
        argv = [str(Path(sys.executable).with_name("py-spy")), "record", f"--pid={running.pid}", f"--rate={A_SECOND}"]
        spying = subprocess.Popen([*argv, f"--duration={SECONDS}", "--function", f"--output={file}"])
        load, cpu = running.closed(SECONDS)
        spying.wait(timeout=60)
    print(f"{load.requests:,} conversations, {cpu:.0f} µs of CPU for each: {file}")
    return spying.returncode


if __name__ == "__main__":
    sys.exit(main())
