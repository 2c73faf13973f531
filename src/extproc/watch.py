"""Whether the dependencies can be reached: asked over and over, and told to readiness, status and metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from extproc.ports import Dependency

log = structlog.get_logger("extproc.watch")

EVERY: Final = 5.0
"""Seconds between two questions to one dependency."""

PATIENCE: Final = 5.0
"""Seconds for one answer."""

TOLERATED: Final = 1
"""Failures in a row that do not count yet: one lost packet does not take a gateway out of service."""


@dataclass(slots=True)
class Known:
    """What is known of one dependency. `reached`: it was all right once; `failures` in a row; `problem`: the last one, in a
    sentence.
    """

    reached: bool = False
    failures: int = 0
    problem: str | None = None

    def answered(self, problem: str | None) -> None:
        """It was asked, and this is wrong with it."""
        self.failures = self.failures + 1 if problem else 0
        self.problem = problem
        self.reached = self.reached or problem is None

    @property
    def down(self) -> bool:
        """A first failure counts at once: nothing was ever all right."""
        return self.problem is not None and (self.failures > TOLERATED or not self.reached)


@dataclass(slots=True)
class Watch:
    """`required` are those without which some exchange is denied: without one of them this process is not ready. The others
    are told of, and change nothing: so an outage that every extension is open for takes no gateway out of service. `patience`
    is seconds for one answer.
    """

    dependencies: Mapping[str, Dependency]
    required: frozenset[str]
    told: Callable[[str, bool], None] = lambda _name, _up: None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    patience: float = PATIENCE
    _known: dict[str, Known] = field(init=False)
    _met: dict[str, Known] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._known = {name: Known() for name in self.dependencies}

    async def meet(self, dependencies: Mapping[str, Dependency]) -> None:
        """Ask those that are not watched yet: so whoever follows is not unready until they have been asked, and they have their
        connections.
        """
        self._met = {}
        strangers = [each for name, each in dependencies.items() if self.dependencies.get(name) is not each]
        await asyncio.gather(*(self._first(each) for each in strangers))

    def follow(self, dependencies: Mapping[str, Dependency], required: frozenset[str]) -> None:
        """Watch these from now on. What is known of one that was watched before, or was met, stays known."""
        known = {name: self._known[name] for name, each in dependencies.items() if self.dependencies.get(name) is each}
        self._known = {name: known.get(name) or self._met.get(name) or Known() for name in dependencies}
        self._met = {}
        self.dependencies, self.required = dependencies, required
        for name, each in self._known.items():
            if each.reached or each.problem:
                self.told(name, each.problem is None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.ask()
            await self.sleep(EVERY)

    async def ask(self) -> None:
        """One question to each, at the same time."""
        asked = [(name, each, self._known[name]) for name, each in self.dependencies.items()]
        await asyncio.gather(*(self._probe(*each) for each in asked))

    def problems(self) -> tuple[str, ...]:
        """Why this process is not ready: a sentence for each required dependency that is down."""
        return tuple(
            f"{name}: {known.problem or 'it has not been asked yet'}"
            for name, known in self._known.items()
            if name in self.required and (known.down or not known.reached)
        )

    def status(self) -> dict[str, Any]:
        """Every dependency: whether it is required, whether it is reachable (None: not asked yet), and what is wrong."""
        return {
            name: {
                "required": name in self.required,
                "reachable": known.problem is None if known.reached or known.problem else None,
                "problem": known.problem,
            }
            for name, known in self._known.items()
        }

    async def _first(self, dependency: Dependency) -> None:
        self._met[dependency.name] = known = Known()
        known.answered(await self._asked(dependency.name, dependency))

    async def _probe(self, name: str, dependency: Dependency, known: Known) -> None:
        """`known` is what counts as the question is put: before it begins there may be others."""
        problem = await self._asked(name, dependency)
        before = known.problem
        known.answered(problem)
        if self._known.get(name) is not known:
            return  # another configuration is in force now, without it
        self.told(name, problem is None)
        if (problem is None) != (before is None):
            log.warning("dependency", name=name, reachable=problem is None, problem=problem or "")

    async def _asked(self, name: str, dependency: Dependency) -> str | None:
        """What is wrong with it, if something is. Whatever becomes of the question, the watch goes on."""
        try:
            async with asyncio.timeout(self.patience):
                return await dependency.probe()
        except TimeoutError:
            return f"it did not answer within {self.patience:g} s"
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return _failed(error)  # what the probe waited for was cancelled, and not the watch
        except Exception as error:  # a defect of the probe, told without its text: that may hold what it asked with
            log.exception("probe_failed", name=name)
            return _failed(error)


def _failed(error: BaseException) -> str:
    return f"asking it failed with {type(error).__name__}"
