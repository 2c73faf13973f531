"""How well a detector finds what a corpus says is there: precision and recall by entity."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from extproc.errors import ConfigError
from extproc.schema import Model
from extproc_filters.pii.findings import Finding

TOTAL: Final = "all"
COLUMNS: Final = ("entity", "in the corpus", "findings", "exactly", "precision", "recall", "left")


class Span(Model):
    """A value that is in a text; positions are characters, `end` excluded."""

    entity: str
    start: Annotated[int, Field(ge=0)]
    end: int


class Example(Model):
    """One line of a corpus: a text, and all that is in it. Other members, such as a style, are for people."""

    text: str
    spans: list[Span]
    style: str = ""

    @model_validator(mode="after")
    def _inside(self) -> "Example":
        for span in self.spans:
            if not span.start < span.end <= len(self.text):
                raise ValueError(
                    f"{span.entity} is said to be from {span.start} to {span.end} of {len(self.text)} characters"
                )
        return self


@dataclass(slots=True)
class Tally:
    """Values of one entity: `there` in the corpus, of those `found` (a finding of that name lies over some of it), found
    `exactly`, and `left` (part of it is under no finding of any name). `told` are the findings of that name, `right` those
    of them that lie over such a value.
    """

    there: int = 0
    found: int = 0
    exactly: int = 0
    left: int = 0
    told: int = 0
    right: int = 0

    def __iadd__(self, other: "Tally") -> Self:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def cells(self, entity: str) -> tuple[str, ...]:
        """As `COLUMNS` have them."""
        precision = f"{self.right / self.told:.3f}" if self.told else "-"
        recall = f"{self.found / self.there:.3f}" if self.there else "-"
        return (entity, str(self.there), str(self.told), str(self.exactly), precision, recall, str(self.left))


def read_corpus(lines: Iterable[bytes]) -> Iterator[Example]:
    """Raises: ConfigError, with the number of the line; never with a word of the text."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield Example.model_validate(orjson.loads(line))
            except orjson.JSONDecodeError:
                raise ConfigError(f"line {number}: not JSON; each line is {_LINE}") from None
            except ValidationError as error:
                first = error.errors(include_input=False)[0]
                field = ".".join(map(str, first["loc"]))
                raise ConfigError(
                    f"line {number}: {field + ': ' if field else ''}{first['msg']}; each line is {_LINE}"
                ) from None


_LINE: Final = '{"text": ..., "spans": [{"entity": ..., "start": ..., "end": ...}]}'


def compare(examples: Iterable[Example], find: Callable[[str], Iterable[Finding]]) -> dict[str, Tally]:
    """What `find` finds against what is there, by entity."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    for example in examples:
        findings = list(find(example.text))
        for span in example.spans:
            tallies[span.entity] += _of_value(span, findings)
        for finding in findings:
            right = any(_named(span, finding) for span in example.spans)
            tallies[finding.entity] += Tally(told=1, right=right)
    return dict(tallies)


def table(tallies: dict[str, Tally]) -> str:
    """For people, in Markdown; one row for each entity, and one for all."""
    whole = Tally()
    for tally in tallies.values():
        whole += tally
    rows = [tally.cells(entity) for entity, tally in sorted(tallies.items())] + [whole.cells(TOTAL)]
    head = f"| {' | '.join(COLUMNS)} |\n|---{'|---:' * (len(COLUMNS) - 1)}|"
    return "\n".join([head, *(f"| {' | '.join(row)} |" for row in rows)])


def _of_value(span: Span, findings: list[Finding]) -> Tally:
    named = [finding for finding in findings if _named(span, finding)]
    exactly = any((finding.start, finding.end) == (span.start, span.end) for finding in named)
    return Tally(there=1, found=bool(named), exactly=exactly, left=not _covered(span, findings))


def _named(span: Span, finding: Finding) -> bool:
    return finding.entity == span.entity and finding.start < span.end and span.start < finding.end


def _covered(span: Span, findings: list[Finding]) -> bool:
    """Whether every character of it is under a finding."""
    at = span.start
    for finding in sorted(findings, key=lambda each: each.start):
        if finding.start <= at < finding.end:
            at = finding.end
    return at >= span.end
