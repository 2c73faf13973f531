"""`python -m bench [--only engine|envoy]`: measure and print; the whole is also written to `bench/results/<date>.md` and
`.json`."""

import argparse
import sys

from bench import engine, report, through_envoy
from bench.load import missing


def main() -> int:
    """Exit code 1 if a part could not be measured."""
    parser = argparse.ArgumentParser(
        "bench", description="Measure the engine alone, and requests through a real Envoy."
    )
    parser.add_argument("--only", choices=("engine", "envoy"), help="one of the two parts")
    only = parser.parse_args().only
    costs = [] if only == "envoy" else _engine()
    if only != "engine" and (sentence := missing()):
        sys.stderr.write(f"{sentence}\n")
        return 1
    try:
        legs = [] if only == "engine" else _envoy()
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if costs and legs:  # a part alone would replace the whole of the same day
        print(f"\nwritten: {report.write(costs, legs)}")
    return 0


def _engine() -> list[engine.Cost]:
    _progress("the engine alone, a few seconds")
    costs = engine.measure()
    print(report.engine_table(costs), flush=True)
    return costs


def _envoy() -> list[through_envoy.Leg]:
    _progress("through Envoy, about a minute and a half")
    legs = through_envoy.measure(_progress)
    print(report.envoy_table(legs), flush=True)
    return legs


def _progress(sentence: str) -> None:
    sys.stderr.write(f"- {sentence}\n")


if __name__ == "__main__":
    sys.exit(main())
