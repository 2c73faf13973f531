"""`python -m bench.floor`: how much of the cost of a text full of candidates is Hyperscan's own, and so nobody's to save.

It needs a C compiler and Hyperscan's headers (Debian: `libhyperscan-dev`), and is no part of `make bench`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.scan import HOSTILE, nothing_but, ordinary
from extproc_filters.pii.scanner import ENTITIES, Scanner

SOURCE = Path(__file__).with_name("floor.c")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="xpb-") as name:
        directory = Path(name)
        program = directory / "floor"
        subprocess.run(["cc", "-O2", str(SOURCE), "-o", str(program), "-lhs"], check=True)
        texts = {"ordinary text": ordinary(HOSTILE), **{entity: nothing_but(entity) for entity in ENTITIES}}
        files = [
            *_expressions(directory),
            *(_written(directory / f"{n}.txt", text) for n, text in enumerate(texts.values())),
        ]
        told = subprocess.run([program, *files], check=True, capture_output=True, text=True).stdout.splitlines()
    print("| nothing but | matches | ns a byte | times ordinary text |\n|---|---:|---:|---:|")
    usual = float(told[0].split()[0])
    for what, line in zip(texts, told, strict=True):
        cost, matches = line.split()
        print(f"| {what} | {int(matches):,} | {float(cost):.1f} | {float(cost) / usual:.1f} |")
    return 0


def _expressions(directory: Path) -> list[Path]:
    """Those that a whole text is searched for, in the two groups in which they are compiled."""
    return [
        _written(directory / f"expressions-{number}", "".join(f"{each}\n" for each in group))
        for number, group in enumerate(Scanner().expressions)
    ]


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


if __name__ == "__main__":
    sys.exit(main())
