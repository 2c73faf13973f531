"""Merging does not depend on the order of anything that has no order."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.chain import Chain
from extproc.core.link import Degraded, Link, Scope
from extproc.core.phase import Phase
from extproc.policy.attach import Attachment
from extproc.policy.build import Extension
from extproc.policy.documents import ExtensionSpec
from extproc.policy.merge import merge
from extproc.policy.places import Origin
from tests.policy.samples import AUTHN, SETTINGS, backend, policy, resolved

ORIGIN = Origin("config.yaml", 1, Path())


def extension(
    name: str, scope: Scope, owner: str, created: float | None, priority: int, overridable: bool | None
) -> Extension:
    spec = ExtensionSpec.model_validate(
        {"name": name, "type": "Limit:v1", "phase": "request-headers", "priority": priority, "overridable": overridable}
    )
    age = created is None, created or 0.0, f"egress/{owner}", "EgressPolicy"
    attachment = Attachment(spec, scope, "egress/x", f"EgressPolicy egress/{owner}", "egress", age, ORIGIN, ())
    return Extension(attachment, Link(name, Phase.REQUEST_HEADERS, Degraded("x"), priority, scope))


EXTENSIONS = st.lists(
    st.builds(
        extension,
        st.sampled_from("ab"),
        st.sampled_from(Scope),
        st.sampled_from("pqrstu"),
        st.sampled_from([None, 1.0, 2.0]),
        st.integers(0, 2),
        st.sampled_from([None, True, False]),
    ),
    max_size=6,
    unique_by=lambda one: (one.name, one.attachment.scope, one.attachment.owner),
)


@settings(max_examples=200, deadline=None)
@given(EXTENSIONS, st.randoms(use_true_random=False))
def test_merging_is_the_same_in_any_order(found: list[Extension], random: Random) -> None:
    shuffled = random.sample(found, len(found))
    one, other = merge(found), merge(shuffled)
    assert one.extensions == other.extensions
    assert {loss.message for loss in one.losses} == {loss.message for loss in other.losses}
    assert {str(error) for error in one.errors} == {str(error) for error in other.errors}


@settings(max_examples=200, deadline=None)
@given(EXTENSIONS)
def test_nothing_is_dropped_in_silence(found: list[Extension]) -> None:
    merged = merge(found)
    assert len({one.name for one in merged.extensions}) == len(merged.extensions)
    refused = {name for name in ("a", "b") if any(f"extension '{name}'" in error.message for error in merged.errors)}
    lost = [loss.loser for loss in merged.losses]
    for one in found:
        assert one in merged.extensions or one in lost or one.name in refused


@settings(max_examples=200, deadline=None)
@given(EXTENSIONS)
def test_the_narrowest_wins_only_over_what_is_overridable(found: list[Extension]) -> None:
    merged = merge(found)
    for winner in merged.extensions:
        wider = [one for one in found if one.name == winner.name and one.attachment.scope < winner.attachment.scope]
        best = [
            min((o for o in wider if o.attachment.scope is s), key=lambda o: o.attachment.age, default=None)
            for s in Scope
        ]
        assert all(one is None or one.attachment.overridable for one in best)
        assert winner.attachment.scope == max(one.attachment.scope for one in found if one.name == winner.name)


@settings(max_examples=100, deadline=None)
@given(EXTENSIONS)
def test_a_phase_is_ordered_by_priority_scope_and_name(found: list[Extension]) -> None:
    links = Chain(tuple(one.link for one in merge(found).extensions)).at(Phase.REQUEST_HEADERS)
    keys = [(link.priority, link.scope, link.name) for link in links]
    assert keys == sorted(keys)


def orders(documents: Sequence[str]) -> list[list[str]]:
    return [list(documents), list(reversed(documents)), [*documents[2:], *documents[:2]]]


def test_the_order_of_documents_changes_nothing(tmp_path: Path) -> None:
    quota = 'name: quota, type: "Limit:v1", phase: request-headers, overridable: true, priority: {}'
    documents = [
        SETTINGS,
        AUTHN,
        backend("a", "a.example"),
        backend("b", "a.example"),
        policy("p", "Gateway/egress", quota.format(1)),
        policy("q", "Gateway/egress", quota.format(2)),
        policy("r", "Backend/a", quota.format(3)),
        policy("s", "Backend/a", quota.format(4), created='"2024-01-01T00:00:00Z"'),
    ]
    seen = set()
    for order in orders(documents):
        found = resolved(tmp_path, *order)
        chains = [
            (str(served and served.backend), [link.order for link in chain.links])
            for _, served, chain in found.chains()
        ]
        seen.add((str(chains), tuple(sorted(finding.message for finding in found.findings))))
    assert len(seen) == 1
