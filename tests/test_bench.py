"""What is measured can be measured: the configurations are accepted, and a short run gives figures."""

from pathlib import Path

import pytest

from bench import engine
from bench.gateway import write
from bench.load import missing
from bench.report import engine_table
from extproc.compose import configure
from extproc.core.phase import Phase


@pytest.mark.parametrize("name", ["nothing", "four"])
def test_each_configuration_is_accepted_without_a_finding(name: str, tmp_path: Path) -> None:
    assert configure(write(name, tmp_path, 10000, 10001)).findings == ()


def test_the_engine_is_timed_in_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ROUNDS", 1)
    monkeypatch.setattr(engine, "EXCHANGES", 2)
    costs = engine.measure()
    assert {f"engine, {phase}" for phase in (Phase.REQUEST_HEADERS, Phase.REQUEST_BODY)} <= {
        cost.name for cost in costs
    }
    assert all(0 < cost.best <= cost.median for cost in costs)
    assert engine_table(costs).count("\n") == len(costs) + 1


def test_a_missing_load_generator_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "Debian's package wrk" in (missing() or "")
