"""`python -m bench.soak`: exit code 1 if anything is left behind, or an exchange ended as it must not."""

import argparse
import asyncio
import sys

from bench.soak.kinds import KINDS
from bench.soak.run import soak
from bench.soak.tables import tables
from bench.soak.verdict import problems
from bench.tools import missing

MILLION = 1_000_000
ROUNDS = 10
TRANSPORTS = ("http2", "envoy")


def main() -> int:
    """Exit code 2 if it cannot be run at all."""
    parser = argparse.ArgumentParser("bench.soak", description="Whether the server leaves anything behind.")
    parser.add_argument("--exchanges", type=int, default=MILLION, metavar="N", help="default: 1,000,000")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="samples on the way, at least 3")
    parser.add_argument("--transport", choices=TRANSPORTS, default=TRANSPORTS[0])
    parser.add_argument(
        "--only", action="append", default=[], metavar="KIND", help="what is to blame? May be said again"
    )
    given = parser.parse_args()
    kinds = [kind for kind in KINDS if not given.only or kind.name in given.only]
    if not kinds:
        parser.error(f"no such kind; there are {', '.join(repr(kind.name) for kind in KINDS)}")
    if given.rounds < 3 or given.exchanges < given.rounds * 100:
        parser.error("at least 3 rounds, of at least 100 exchanges each")
    if sentence := missing("redis-server"):
        parser.error(sentence)
    try:
        found = asyncio.run(soak(given.exchanges, given.rounds, given.transport, _progress, kinds))
    except RuntimeError as error:
        print(f"not flat: {error}")
        return 1
    for table in tables(found):
        print(f"\n{table.markdown()}")
    wrong = problems(found)
    print("\n".join(f"not flat: {each}" for each in wrong) or "flat: nothing is left behind")
    return 1 if wrong else 0


def _progress(sentence: str) -> None:
    sys.stderr.write(f"- {sentence}\n")


if __name__ == "__main__":
    sys.exit(main())
