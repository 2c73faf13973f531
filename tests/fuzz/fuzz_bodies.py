"""Fuzz the decoders and the transformers of bodies with atheris (`pip install atheris`), which is guided by coverage:

    python tests/fuzz/fuzz_bodies.py streaming -runs=200000

The first argument is a target, or nothing for all of them by turns; the others are libFuzzer's. Inputs to begin with are
made here, so that the fuzzer need not find out what an event looks like.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["extproc_filters"]):
    from tests.fuzz.seeds import SEEDS
    from tests.fuzz.targets import TARGETS


def main() -> None:
    names = [name for name in sys.argv[1:] if name in TARGETS] or list(TARGETS)
    targets = [TARGETS[name] for name in names]

    def one(data: bytes) -> None:
        if data:
            targets[data[0] % len(targets)](data[1:])

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS):
            for which in range(len(targets)):
                (Path(corpus) / f"{number}-{which}").write_bytes(bytes([which]) + seed)
        arguments = [each for each in sys.argv if each not in TARGETS]
        atheris.Setup([arguments[0], corpus, "-max_len=2048", *arguments[1:]], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
