"""What is told of a configuration, to those who may read all and to those who may not."""

from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from extproc.reload.condition import MOST, Condition, Series, bounded, outdated
from extproc.reload.source import Loaded, Source
from extproc.testing import Clock
from tests.e2e.gateway import PII, quota
from tests.reload.making import put, write


@pytest.fixture
def first(tmp_path: Path) -> Loaded:
    return Source(write(tmp_path)).start()


def test_a_refusal_is_told_until_something_good_comes(first: Loaded) -> None:
    clock = Clock()
    condition = Condition(first, Series(CollectorRegistry()), clock)
    clock.advance(60)
    condition.refused(["a.yaml:1: wrong"])
    assert condition.status() == {
        "generation": 1,
        "hash": first.hash,
        "loadedAt": "1970-01-12T13:46:40Z",
        "problem": ["a.yaml:1: wrong"],
        "refusedAt": "1970-01-12T13:47:40Z",
        "envoy": [],
    }
    (note,) = condition.notes()
    assert "1970-01-12T13:47:40Z" in note
    assert "wrong" not in note
    condition.unchanged()
    assert condition.notes() == ()
    assert condition.status()["problem"] == []


def test_the_metrics_name_one_configuration_at_a_time(first: Loaded, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    condition = Condition(first, Series(registry), Clock())
    write(tmp_path, quota(5))
    second = Source(tmp_path / "config.yaml").start()
    condition.accepted(second)
    text = generate_latest(registry).decode()
    assert first.hash not in text
    assert f'extproc_configuration_info{{hash="{second.hash}"}} 1.0' in text
    assert "extproc_configuration_last_success_timestamp_seconds 1e+06" in text
    assert 'extproc_configuration_reloads_total{result="refused"} 0.0' in text, "it is there before the first one"


def test_a_file_whose_name_is_no_text_spoils_no_status(first: Loaded) -> None:
    condition = Condition(first, Series(CollectorRegistry()))
    condition.refused(["/etc/\udcff.yaml: wrong"])
    assert orjson.loads(orjson.dumps(condition.status()))["problem"] == ["/etc/\\udcff.yaml: wrong"]


def test_a_thousand_sentences_are_not_kept() -> None:
    found = bounded(str(number) for number in range(1000))
    assert len(found) == MOST + 1
    assert found[-1] == f"and {1000 - MOST} more"
    assert bounded(found) == found, "a worker keeps what its parent has kept"
    assert bounded(["one"]) == ("one",)


def test_what_a_generated_envoy_must_know(first: Loaded, tmp_path: Path) -> None:
    path = write(tmp_path, quota(5))
    source = Source(path)
    assert list(outdated(first, source.start())) == []
    text = path.read_text()
    put(path, text.replace("hostname: localhost", "hostname: other.localhost"))
    (sentence,) = outdated(first, source.start())
    assert sentence.endswith("upstreams, hosts changed")


def test_where_there_is_no_generated_envoy_the_needs_tell(tmp_path: Path) -> None:
    source = Source(write(tmp_path, trafficPolicy="Allow"))
    first = source.start()
    assert first.plan is None
    write(tmp_path, PII, trafficPolicy="Allow")
    (sentence,) = outdated(first, source.start())
    assert sentence.endswith("`needs.requestBody` of /status changed")
