"""The soak, short: it holds for this server, and does not for one that leaks."""

import asyncio
import json
import os
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench.soak import run, sample
from bench.soak.__main__ import main
from bench.soak.journal import strange
from bench.soak.kinds import KINDS, Kind
from bench.soak.parts import TEMPLATE
from bench.soak.run import Found, Run, soak
from bench.soak.sample import SLACK, Sample
from bench.soak.tables import tables
from bench.soak.verdict import MOST_GROWTH, MOST_OBJECTS, MOST_TREND, problems

LEAKING = """
  - {name: leaking, type: "soak.example/Leaking:v1", phase: request-headers}
"""
needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not on this machine: apt-get install redis-server"
)

SAMPLE = Sample(1000, 120.0, 121.0, 20, 4, 0, 9, 2000, 1, 1.0)
ONE, *_ = KINDS


def found(*samples: Sample, ends: dict[Kind, Counter[str]] | None = None, stuck: tuple[str, ...] = ()) -> Found:
    return Found(SAMPLE, list(samples), ends or {ONE: Counter({"ok": 1000})}, list(stuck), 1.0)


def changed(**values: float) -> Sample:
    return replace(SAMPLE, **values)


@needs_redis
def test_nothing_is_left_behind(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of exchange, every fault and a reload, in each of the rounds."""
    monkeypatch.setattr("sys.argv", ["bench.soak", "--exchanges", "3000", "--rounds", "3"])
    code = main()
    told = capsys.readouterr().out
    assert "flat: nothing is left behind" in told, told
    assert code == 0
    rows = {row.split(" | ")[0].strip("| "): row for row in told.splitlines() if row.startswith("| ")}
    assert {kind.name for kind in KINDS} <= rows.keys()
    assert "503" in rows["counted in Redis"]


@needs_redis
def test_what_leaks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task, a descriptor and a megabyte of each exchange of one kind in a hundred."""
    monkeypatch.setattr(sample, "PATIENCE", 0.5)  # what leaks does not come back
    filters = 'filters: {"soak.example/Inside:v1": "bench.soak.inside:Inside"'
    assert filters in TEMPLATE
    template = TEMPLATE.replace(filters, f'{filters}, "soak.example/Leaking:v1": "tests.soak.leaking:Leaking"')
    before, name, after = template.partition("metadata: {name: tried, namespace: egress}")
    head, extensions, rest = after.partition("  extensions:\n")
    template = before + name + head + extensions + LEAKING.lstrip("\n") + rest
    kinds = [kind for kind in KINDS if kind.name in ("one message", "downstream pass and two tries")]
    wrong = problems(asyncio.run(soak(1500, 3, "http2", lambda _: None, kinds, template)))
    assert [sentence.split(":")[0].split(" by ")[0] for sentence in wrong] == [
        "memory grew",
        "memory grew",
        "descriptors",
        "tasks",
    ]


@needs_redis
def test_a_server_that_dies_is_told_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def killed(self: Run) -> None:
        os.kill(self.watcher.pid, signal.SIGKILL)

    monkeypatch.setattr(Run, "_mistake", killed)
    monkeypatch.setattr(run, "RECOVERY", 0.5)
    monkeypatch.setattr("sys.argv", ["bench.soak", "--exchanges", "300", "--rounds", "3"])
    assert main() == 1
    assert "not flat: " in capsys.readouterr().out


def test_what_stays_as_it_was_is_flat() -> None:
    assert problems(found(SAMPLE, SAMPLE, SAMPLE)) == []


def test_what_only_warms_up_is_flat() -> None:
    """A pool of connections, a cache: in the first half, and a little."""
    warm = changed(rss=125.0, descriptors=20 + SLACK, tasks=9 + SLACK, threads=4 + SLACK, objects=10_000)
    assert problems(found(SAMPLE, warm, warm)) == []


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        ({"rss": 120.0 + MOST_GROWTH}, "memory grew by 10.0 MB since the first round; 10 are allowed"),
        ({"objects": 2001 + MOST_OBJECTS}, "there are 22,001 objects in the end, and there were 2,000"),
        ({"descriptors": 21 + SLACK}, "descriptors: 29 in the end, 20 at first"),
        ({"tasks": 10 + SLACK}, "tasks: 18 in the end, 9 at first"),
        ({"threads": 5 + SLACK}, "threads: 13 in the end, 4 at first"),
        ({"streams": 1}, "1 streams are open, and nobody has any"),
    ],
)
def test_what_grows_is_told(last: dict[str, float], sentence: str) -> None:
    assert problems(found(SAMPLE, changed(**last), changed(**last))) == [sentence]


def test_what_goes_on_growing_is_told_though_it_is_little() -> None:
    samples = [changed(rss=120.0 + step * (MOST_GROWTH - 1) / 4) for step in range(5)]
    assert problems(found(*samples)) == [f"memory grew by 4.5 MB in the second half; {MOST_TREND:g} are allowed"]


def test_what_ended_as_it_must_not_is_told() -> None:
    ends = {ONE: Counter({"ok": 998, "503": 1, "never": 1})}
    assert problems(found(SAMPLE, SAMPLE, SAMPLE, ends=ends, stuck=("Redis is not used again",))) == [
        "Redis is not used again",
        "one message: 1 ended with '503'; right is ok",
        "one message: 1 ended with 'never'; right is ok",
    ]


def test_a_fault_in_the_log_is_told_once(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    lines = [
        {"level": "info", "event": "denied", "code": "rate_limited"},
        {"level": "error", "event": "stream_failed", "error": "request body cannot follow nothing here"},
        {"level": "error", "event": "configuration_refused", "problems": ["..."]},
        {"level": "error", "event": "stream_failed", "error": "KeyError"},
        {"level": "error", "event": "stream_failed", "error": "KeyError"},
        {"level": "error", "event": "Task exception was never retrieved", "error": "OSError", "at": "x.py:1"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    log.write_text(f"[info] of Envoy\n{text}Traceback (most recent call last):\n")
    assert strange(log) == [
        "the log has 2 lines like: stream_failed KeyError",
        "the log has 1 lines like: Task exception was never retrieved OSError x.py:1",
        "the log has 1 lines like: Traceback (most recent call last):",
    ]


def test_a_few_may_be_late() -> None:
    ends = {ONE: Counter({"ok": 127_000, "504": 12})}
    assert problems(found(SAMPLE, SAMPLE, SAMPLE, ends=ends)) == []
    ends[ONE]["504"] = 13
    assert problems(found(SAMPLE, SAMPLE, SAMPLE, ends=ends)) == [
        "13 exchanges ended with 504: too late. On a machine that does other things, 12 may"
    ]


def test_the_table_shows_begin_base_middle_and_end() -> None:
    shown = found(*(changed(exchanges=1000 * number, cpu=0.5 * number) for number in range(2, 12)))
    states, ends = tables(shown)
    assert [row[0] for row in states.rows] == ["1,000", "2,000", "6,000", "11,000"]
    assert [row[-1] for row in states.rows] == [None, 0.0, 500.0, 500.0]
    assert ends.rows == (("one message", 1000, "ok: 1,000"),)


def test_the_kinds_are_a_thousand() -> None:
    assert sum(kind.share for kind in KINDS) == 1000
    assert len({kind.name for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("words", [["--rounds", "2"], ["--exchanges", "50"], ["--only", "nothing"]])
def test_what_cannot_be_run_is_refused(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench.soak", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err
