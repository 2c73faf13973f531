"""`python -m bench`: measure and print; a whole run is also written to `bench/results/<date>.md`, `.json` and `.svg`."""

import argparse
import sys
import time
from dataclasses import replace

from bench import targets
from bench.amount import FULL, QUICK
from bench.legs import Server
from bench.parts import PARTS, Run
from bench.report import Report, write
from bench.section import Section
from bench.tools import missing

TRANSPORTS = {"http2": Server.HTTP2, "envoy": Server.ENVOY, "inprocess": Server.INSIDE}
QUICKLY = ("http2", "inprocess")
"""Transports of a quick run."""


def main() -> int:
    """Exit code 1 if something could not be measured."""
    arguments = _arguments()
    names = [name for name in PARTS if _wanted(name, arguments)]
    needs = {program for name in names for program in PARTS[name].needs}
    if needs and (sentence := missing(*sorted(needs))):
        sys.stderr.write(f"{sentence}\n")
        return 1
    run, begun = _run(arguments), time.monotonic()
    for name in names:
        _progress(f"{name} ({time.monotonic() - begun:,.0f} s)")
        try:
            PARTS[name].work(run)
        except (RuntimeError, OSError) as error:
            _progress(f"{name} could not be measured: {error}")
            run.report.skipped.append(name)
    if (compared := targets.section(run.report.facts)).rows:
        _show(compared)
    if not arguments.only and not arguments.quick:  # a part alone would replace the whole of the same day
        print(f"written: {write(run.report, time.monotonic() - begun)}")
    if run.report.skipped:
        _progress(f"not measured: {', '.join(run.report.skipped)}")
    return 1 if run.report.skipped else 0


def _wanted(name: str, arguments: argparse.Namespace) -> bool:
    return name in arguments.only if arguments.only else not (arguments.quick and PARTS[name].apart)


def _run(arguments: argparse.Namespace) -> Run:
    amount = QUICK if arguments.quick else FULL
    if arguments.exchanges:
        amount = replace(amount, exchanges=arguments.exchanges)
    names = arguments.transport or (QUICKLY if arguments.quick else tuple(TRANSPORTS))
    return Run(amount, [TRANSPORTS[name] for name in names], arguments.record, _progress, _show, Report())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "bench", description="Measure the engine, the servers alone, and all of it through a real Envoy."
    )
    parser.add_argument("--only", action="append", default=[], choices=PARTS, help="one part; may be said again")
    parser.add_argument("--quick", action="store_true", help="less of everything, in two minutes; not written down")
    parser.add_argument(
        "--transport", action="append", default=[], choices=TRANSPORTS, help="default: all; may be said again"
    )
    parser.add_argument("--exchanges", type=int, metavar="N", help="after which memory is measured")
    parser.add_argument("--record", action="store_true", help="compare instructions with those of this run from now on")
    return parser.parse_args()


def _show(section: Section) -> None:
    print(f"\n{section.markdown()}", flush=True)


def _progress(sentence: str) -> None:
    sys.stderr.write(f"- {sentence}\n")


if __name__ == "__main__":
    sys.exit(main())
