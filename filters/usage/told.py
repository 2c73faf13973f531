"""The usage that the documents of an answer tell."""

from collections.abc import Iterable
from typing import Final

from extproc.errors import Malformed
from extproc_filters.usage.counts import Counts, Usage, read_counts, usage_of
from extproc_filters.usage.members import Member, Tree

TREE: Final[Tree] = {
    "usage": None,
    "usageMetadata": None,
    "response": {"usage": None, "usageMetadata": None},
    "message": {"usage": None},
    "interaction": {"usage": None},
}
"""Where the usage stands: OpenAI, Anthropic and Bedrock; Gemini; an event of OpenAI's responses, or Gemini behind a proxy;
Anthropic's `message_start`; the last event of an interaction with Gemini.
"""

NAMES: Final = frozenset({"usage", "usageMetadata"})
STARTED: Final = ("message", "usage")
FINISHED: Final = ("response", "usage")


class Told:
    """The usage that documents tell, one after the other: the last counts, and Anthropic's grows."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.unreadable = False
        self.final = False
        self._started: Counts | None = None
        self._names: set[tuple[str, ...]] = set()

    def take(self, members: Iterable[Member]) -> None:
        """More members, in their order."""
        for member in members:
            if not member.path:
                self._names.clear()
            elif member.path[-1] in NAMES and member.text != b"null":
                self._take(member)

    def spoil(self) -> None:
        """What was told last cannot be trusted."""
        self.usage, self.unreadable = None, True

    def _take(self, member: Member) -> None:
        if member.path in self._names or member.text is None:
            self.spoil()  # it is there twice, or is too large to be one
            return
        self._names.add(member.path)
        try:
            self._count(member.path, read_counts(member.text))
        except Malformed:
            self.spoil()
        else:
            self.unreadable = False

    def _count(self, path: tuple[str, ...], counts: Counts) -> None:
        """Raises: Malformed."""
        if path == STARTED:
            self._started, self.usage = counts, None
            return
        if self._started is not None and path == ("usage",):
            grown = {name: max(number, self._started.get(name, 0)) for name, number in counts.items()}
            counts = self._started = {**self._started, **grown}
        self.usage = usage_of(counts)
        self.final = self.final or self._started is not None or path == FINISHED
