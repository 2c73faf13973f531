"""A part of the report: a table with a sentence before it, and the figures that the targets are compared with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Cell = str | int | float | None


@dataclass(frozen=True)
class Column:
    """`form` is how a number is written (a format specification), `unit` what stands behind it."""

    name: str
    form: str = ",.0f"
    unit: str = ""

    def cell(self, value: Cell) -> str:
        if value is None:
            return ""
        return value if isinstance(value, str) else f"{value:{self.form}}{self.unit}"


@dataclass(frozen=True)
class Section:
    """`facts` are figures by name, over all sections of a run."""

    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    facts: Mapping[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        return f"## {self.title}\n\n{self.note.strip()}\n\n{self.table()}\n"

    def table(self) -> str:
        """The first column is text, the others are numbers."""
        lines = [
            f"| {' | '.join(column.name for column in self.columns)} |",
            "|---" + "|---:" * (len(self.columns) - 1) + "|",
        ]
        for row in self.rows:
            cells = (column.cell(value) for column, value in zip(self.columns, row, strict=True))
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)
