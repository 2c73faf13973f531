"""How long a configuration lives: as long as its exchanges, and not for ever."""

from dataclasses import replace
from pathlib import Path

import pytest

from extproc.compose import engine
from extproc.core.session import Session
from extproc.reload.generations import LINGER, MOST, Generation, Generations
from extproc.reload.source import Loaded, Source
from extproc.testing import Clock
from tests.e2e.gateway import quota
from tests.reload.making import write

EACH_TRY = {
    "name": "each-try",
    "type": "CredentialInjector:v1",
    "phase": "backend-request",
    "config": {
        "source": "provider-keys",
        "path": "x",
        "field": "y",
        "allowPlaintext": True,
        "backends": ["egress/stub"],
    },
}


def generation(loaded: Loaded) -> Generation:
    return Generation(loaded, replace(engine(loaded.resolved, lambda _: None), generation=loaded.name))


class Case:
    """Generations, with a clock; `more` puts another configuration into force."""

    def __init__(self, folder: Path, **settings: bool) -> None:
        self.folder, self.settings, self.clock, self.number = folder, settings, Clock(), 0
        self.source = Source(write(folder, **settings))
        self.generations = Generations(generation(self.source.start()), self.clock)

    def more(self) -> str:
        self.number += 1
        extensions = [EACH_TRY] if self.settings.get("upstreamPass") else []
        write(self.folder, quota(self.number), *extensions, **self.settings)
        self.generations.next = generation(self.source.start())
        self.generations.commit()
        return self.generations.current.loaded.name


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


async def test_one_without_exchanges_goes_at_once(case: Case) -> None:
    first = case.generations.current.loaded.name
    case.more()
    assert case.generations.find(first) is None
    await case.generations.sweep()
    assert len(case.generations) == 1
    assert case.generations._former == []


async def test_one_lives_as_long_as_an_exchange_of_it(case: Case) -> None:
    first = case.generations.current
    session = Session(first.engine)
    lease, name = first.loaded.lease, first.loaded.name
    del first
    case.more()
    case.clock.advance(LINGER - 1)
    await case.generations.sweep()
    assert len(case.generations) == 2
    assert case.generations.find(name) is session.engine
    assert lease._keys
    session.close()
    del session
    await case.generations.sweep()
    assert len(case.generations) == 1
    assert not lease._keys


async def test_an_exchange_that_never_ends_has_its_time(case: Case) -> None:
    first = case.generations.current
    session = Session(first.engine)
    case.more()
    case.clock.advance(LINGER)
    await case.generations.sweep()
    assert case.generations._former == []
    assert not first.loaded.lease._keys
    session.close()


async def test_one_with_an_upstream_pass_waits_for_tries(tmp_path: Path) -> None:
    case = Case(tmp_path, upstreamPass=True)
    name = case.more()
    case.more()
    await case.generations.sweep()
    found = case.generations.find(name)
    assert found is not None
    assert found.generation == name
    del found
    case.clock.advance(LINGER)
    await case.generations.sweep()
    assert case.generations.find(name) is None


async def test_a_storm_leaves_no_more_than_so_many_for_tries(tmp_path: Path) -> None:
    case = Case(tmp_path, upstreamPass=True)
    names = [case.more() for _ in range(MOST + 4)]
    await case.generations.sweep()
    found = [name for name in names if case.generations.find(name)]
    assert found == names[-MOST - 1 :]


async def test_one_that_is_ready_is_found_before_it_is_in_force(case: Case) -> None:
    write(case.folder, quota(9))
    case.generations.next = generation(case.source.start())
    name = case.generations.next.loaded.name
    assert case.generations.find(name) is case.generations.next.engine
    await case.generations.drop()
    assert case.generations.find(name) is None
    with pytest.raises(RuntimeError, match="no configuration that is ready"):
        case.generations.commit()


async def test_an_engine_of_nobody_is_the_one_in_force(case: Case) -> None:
    current = replace(case.generations.current.engine, others=case.generations.find)
    assert current.of("unknown") is current
    assert current.of(current.generation) is current
