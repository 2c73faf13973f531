"""The page about reloads names what there is."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from extproc.reload import generations, source
from extproc.reload.changes import EVERY, STILL
from extproc.reload.condition import Condition, Series
from extproc.reload.source import Source
from tests.reload.making import write

PAGE = (Path(__file__).parents[2] / "docs" / "reload.md").read_text()


def test_every_metric_and_no_other() -> None:
    registry = CollectorRegistry()
    series = Series(registry)
    series.info.labels("x").set(1)
    found = {sample.name for family in registry.collect() for sample in family.samples}
    named = set(re.findall(r"`(extproc_configuration_[a-z_]+)`", PAGE))
    assert named == {name for name in found if not name.endswith("_created")}


def test_every_field_of_the_status(tmp_path: Path) -> None:
    condition = Condition(Source(write(tmp_path)).start(), Series(CollectorRegistry()))
    for field in (*condition.status(), "inUse"):
        assert f"`{field}`" in PAGE


def test_what_cannot_change_and_how_long_what_lasts() -> None:
    for field in source.FIXED:
        assert f"`{field}`" in PAGE
    assert (EVERY, STILL, generations.LINGER, generations.MOST) == (1.0, 0.2, 3600.0, 16)
    assert "0.2 s" in PAGE
    assert f"the {generations.MOST} latest" in PAGE
