"""Make the corpus: `python -m tests.corpus.make > corpus.jsonl`. The same lines each time.

One JSON object a line: `text`, `spans` (entity, start, end in characters) and `style`.
"""

import json
import re
import sys
from collections.abc import Iterator
from random import Random
from typing import Any, Final

from tests.corpus.texts import FRAMES, KEY, LABELS, LOOKALIKES, MESSAGE, OTHERS, as_message
from tests.corpus.values import VALUES

SEED: Final = 20_240_301
EACH: Final = 60
"""Texts for each entity."""

NEGATIVES: Final = 25
"""Texts for each kind of value that only looks like one."""

MARK: Final = "\ufdd0"
"""Stands for the value until the text is made; no text has it."""


def corpus() -> Iterator[dict[str, Any]]:
    """All lines."""
    for entity, make in VALUES.items():
        rng = Random(f"{SEED} {entity}")
        for _ in range(EACH):
            yield _positive(rng, entity, make(rng))
    for number, (frame, other) in enumerate(LOOKALIKES):
        rng = Random(f"{SEED} {number}")
        for _ in range(NEGATIVES):
            text = frame.format(other(rng))
            yield {"style": "look-alike", "text": as_message(text) if rng.random() < 0.25 else text, "spans": []}


def _positive(rng: Random, entity: str, value: str) -> dict[str, Any]:
    label = rng.choice(LABELS.get(entity, KEY))
    words = {"label": label, "ident": re.sub(r"\W+", "_", label.lower()).strip("_"), "other": rng.choice(OTHERS)}
    around = ("https://", "@db.example.com/x") if entity == "URL_CREDENTIALS" else ("", "")
    marked = f"{around[0]}{MARK}{around[1]}"
    if rng.random() < 0.25:
        style, text, written = "chat", as_message(MESSAGE.format(value=marked, **words)), json.dumps(value)[1:-1]
        text = text.replace(json.dumps(MARK)[1:-1], MARK)
    else:
        frame = rng.choice(FRAMES)
        style, text, written = "text", frame.format(value=marked, **words), value
    start = text.index(MARK)
    spans = [{"entity": entity, "start": start, "end": start + len(written)}]
    return {"style": style, "text": text.replace(MARK, written), "spans": spans}


def main() -> None:
    """To standard output."""
    for line in corpus():
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
