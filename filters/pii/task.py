"""What to do with what is found in one body."""

from dataclasses import dataclass

from extproc_filters.pii.edits import Writer
from extproc_filters.pii.paths import Path
from extproc_filters.pii.scanner import Scanner


@dataclass(frozen=True, slots=True)
class Task:
    """What to do with the findings of one body: `edit` it, `block` it, or neither (only count). `writer` None: placeholders,
    and with `restore` the answer gets the values back. `answer`: it is the body of an answer.
    """

    scanner: Scanner
    writer: Writer | None
    fields: tuple[Path, ...] = ()
    edit: bool = True
    block: bool = False
    restore: bool = False
    answer: bool = False
