"""The generated parts of `docs/detection.md`: `python -m tests.corpus.detection` writes them anew."""

from itertools import groupby
from pathlib import Path
from typing import Final

from extproc_filters.pii.measure import Example, compare, table
from extproc_filters.pii.recognizer import Recognizer
from extproc_filters.pii.scanner import RECOGNIZERS
from extproc_filters.pii_detector import scan_text
from tests.corpus.make import corpus

PAGE: Final = Path(__file__).parents[2] / "docs" / "detection.md"
PARTS: Final = ("entities", "corpus")


def entities() -> str:
    """A row for each form of each entity, and a row for the words of each."""
    forms = ["| entity | what it matches | score | check | a word near it |", "|---|---|---:|---|---|"]
    words = ["| entity | words that speak of it | only if they stand alone |", "|---|---|---|"]
    ordered = sorted(RECOGNIZERS, key=lambda each: each.entity)
    for entity, group in groupby(ordered, key=lambda each: each.entity):
        rows = list(group)
        names = [f"`{entity}`", *[""] * len(rows)]
        forms += [
            f"| {name} | {each.form} | {each.score:g} | {_check(each)} | {_word(each)} |"
            for name, each in zip(names, rows, strict=False)
        ]
        topics = list(dict.fromkeys(each.topic for each in rows if each.topic is not None))
        words += [
            f"| {name} | {', '.join(topic.within)} | {', '.join(topic.alone)} |"
            for name, topic in zip(names, topics, strict=False)
        ]
    return "\n".join([*forms, "", *words])


def precision_and_recall() -> str:
    """What `extproc scan --against` prints for the corpus."""
    return table(compare(map(Example.model_validate, corpus()), scan_text))


def _check(each: Recognizer) -> str:
    """The first sentence of what the check says of itself."""
    told = " ".join((each.check.__doc__ or "").split()) if each.check else ""
    return told.partition(". ")[0].removesuffix(".")


def _word(each: Recognizer) -> str:
    if each.topic is None:
        return ""
    return "needed" if each.told else "helps"


def page(text: str) -> str:
    """`text` with its generated parts as they are now."""
    for name, made in zip(PARTS, (entities(), precision_and_recall()), strict=True):
        begin, end = f"<!-- {name} -->\n", "\n<!-- end -->"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"{PAGE}: there is no part {name}")
        text = before + begin + made + end + after
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
