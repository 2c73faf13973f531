"""The chain of one exchange: the union of what its Gateway, Backend and Route have, one extension to a name."""

from collections.abc import Iterable
from dataclasses import dataclass

from extproc.core.link import Scope
from extproc.errors import ConfigError
from extproc.policy.build import Extension


@dataclass(frozen=True, slots=True)
class Loss:
    """`loser` does not run where `winner` does."""

    loser: Extension
    winner: Extension

    @property
    def message(self) -> str:
        lost, won = self.loser.attachment, self.winner.attachment
        why = "is older, or first by name" if lost.scope is won.scope else "is narrower"
        return f"{lost.title} at {lost.scope_name} gives way to that of {won.owner} at {won.scope_name}, which {why}"


@dataclass(frozen=True, slots=True)
class Merged:
    """What runs (in the order of a request phase), what does not, and what cannot be."""

    extensions: tuple[Extension, ...] = ()
    losses: tuple[Loss, ...] = ()
    errors: tuple[ConfigError, ...] = ()


def merge(extensions: Iterable[Extension]) -> Merged:
    """One extension to a name, whatever the order of `extensions` (DESIGN section 3, "Merging")."""
    by_name: dict[str, list[Extension]] = {}
    for extension in extensions:
        by_name.setdefault(extension.name, []).append(extension)
    parts = [_one(group) for _, group in sorted(by_name.items())]
    winners = (one for part in parts for one in part.extensions)
    return Merged(
        tuple(sorted(winners, key=lambda one: one.link.order)),
        tuple(one for part in parts for one in part.losses),
        tuple(one for part in parts for one in part.errors),
    )


def _one(group: list[Extension]) -> Merged:
    """The one extension of a name, from all that have it."""
    if errors := _of_two_types(group):
        return Merged(errors=errors)
    winner: Extension | None = None
    losses: list[Loss] = []
    for scope in Scope:
        found = sorted((one for one in group if one.attachment.scope is scope), key=lambda one: one.attachment.age)
        losses += [Loss(late, found[0]) for late in found[1:]]
        if not found:
            continue
        if winner is not None:
            if winner.may_authenticate or not winner.attachment.overridable:
                return Merged(errors=(_not_overridable(winner, found[0]),))
            losses.append(Loss(winner, found[0]))
        winner = found[0]
    return Merged((winner,) if winner else (), tuple(losses))


def _of_two_types(group: list[Extension]) -> tuple[ConfigError, ...]:
    """Extensions of one name have one type and one phase, or nobody could say what takes the place of what."""
    first = min(group, key=lambda one: (one.attachment.scope, one.attachment.age))
    wanted = first.attachment.spec
    return tuple(
        ConfigError(
            f"{one.attachment.title} is {spec.type} at {spec.phase}, and that of {first.attachment.owner} with the same name"
            f" is {wanted.type} at {wanted.phase}: give one another name",
            one.attachment.place("name"),
            "TypeConflict",
        )
        for one in group
        for spec in [one.attachment.spec]
        if (spec.type, spec.phase) != (wanted.type, wanted.phase)
    )


def _not_overridable(wider: Extension, narrower: Extension) -> ConfigError:
    return ConfigError(
        f"{narrower.attachment.title} would take the place of that of {wider.attachment.owner} at"
        f" {wider.attachment.scope_name}, which is not overridable: give it another name",
        narrower.attachment.place("name"),
        "NotOverridable",
    )
