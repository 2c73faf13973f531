"""What is measured can be measured: the configurations are accepted, the sides of the bench understand each other, and the
figures are what they are called.
"""

import asyncio
import json
import math
import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import engine, guard, limiter, plot, streams, targets, upstream
from bench.chat import DELTAS, answer
from bench.conversation import HEADERS, conversation, messages
from bench.direct import alone, converse
from bench.gateway import write, written
from bench.guard import Change
from bench.legs import CONSTANT, GO_HEADER, GO_NOTHING, Leg, Server, every, four, four_in_memory, header
from bench.load import Load, output, quantile, summary
from bench.load_tables import of_closed, of_steady
from bench.process import alive, cpu_seconds, memory, running, tree
from bench.reader import chats
from bench.report import Report, markdown
from bench.report import write as store
from bench.section import Column, Section
from bench.tables import of_engine, of_limiter
from bench.through_envoy import MANY, Measured, Round, Spent, request_body
from bench.tools import BASELINE, missing
from extproc.compose import configure
from extproc.compose import engine as composed
from extproc.core.phase import Phase
from extproc.core.session import Session
from extproc.ports import Algorithm
from extproc.wire.codec import parse, serialize
from extproc.wire.pb.external_processor_pb2 import ProcessingRequest, ProcessingResponse
from tests.adapters.redis_server import BINARY, MISSING

ADDRESS = b"jane.doe@example.com"


@pytest.mark.parametrize("name", ["nothing", "header", "four", "chat"])
def test_each_configuration_is_accepted_without_a_finding(name: str, tmp_path: Path) -> None:
    assert configure(write(name, tmp_path, 10000, 10001)).findings == ()


def test_counters_may_be_in_redis(tmp_path: Path) -> None:
    resolved = configure(write("four", tmp_path, 10000, 10001, "redis://127.0.0.1:1/0"))
    assert resolved.findings == ()
    assert resolved.settings.connections.redis is not None


def test_the_engine_is_timed_in_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ROUNDS", 1)
    monkeypatch.setattr(engine, "EXCHANGES", 2)
    costs = engine.measure()
    assert {f"engine, {phase}" for phase in (Phase.REQUEST_HEADERS, Phase.REQUEST_BODY)} <= of_engine(
        costs
    ).facts.keys()
    assert all(0 < cost.best <= cost.median for cost in costs)


@pytest.mark.skipif(BINARY is None, reason=MISSING)
def test_the_limiter_is_measured_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "ROUNDS", 2)
    monkeypatch.setattr(limiter, "EXCHANGES", 2)
    table = of_limiter(limiter.measure())
    assert [row[0] for row in table.rows] == [
        name for each in Algorithm for name in (each.value, f"{each.value}, settled")
    ]
    assert all(isinstance(figure, float) and figure > 0 for row in table.rows for figure in row[1:])
    assert table.facts["limiter, least"] > 0


def test_what_is_missing_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "`h2load` (Debian's package nghttp2-client)" in (missing("h2load") or "")
    assert "make bench-setup" in (missing() or "")


@given(st.lists(st.integers(), min_size=1).map(sorted), st.floats(0, 1))
def test_a_quantile_is_the_smallest_that_so_many_do_not_exceed(ordered: list[int], part: float) -> None:
    found = quantile(ordered, part)
    assert sum(value <= found for value in ordered) >= math.floor(part * len(ordered))
    assert sum(value < found for value in ordered) <= max(0, math.ceil(part * len(ordered)) - 1)


def test_a_load_without_one_answer_is_none() -> None:
    with pytest.raises(RuntimeError, match="not one request"):
        summary([], 100.0, 7)


def test_a_generator_that_fails_is_told() -> None:
    with pytest.raises(RuntimeError, match="ended with 3: no upstream"):
        output([sys.executable, "-c", "import sys; sys.stderr.write('no upstream'); sys.exit(3)"], 5)


def test_what_a_process_costs_is_that_of_its_children_too(tmp_path: Path) -> None:
    work = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with running([sys.executable, "-c", work], tmp_path / "log") as pid:
        while len(tree(pid)) < 2 or cpu_seconds(tree(pid)[1]) < 0.1:
            assert alive(pid)
        child = tree(pid)[1]
        assert cpu_seconds(pid) >= cpu_seconds(child)
        assert memory(pid).rss > memory(child).rss > 0
        os.kill(child, 9)


async def test_a_conversation_is_one_that_the_server_understands(tmp_path: Path) -> None:
    resolved = configure(written("four", tmp_path))
    shared = composed(resolved, streams.untold)
    session = Session(shared)
    told = messages(conversation(request_body(), buffered=True))
    assert len(told[0].request_headers.headers.headers) == HEADERS
    answers = [
        ProcessingResponse.FromString(serialize(outcome))
        for message in told
        for outcome in await session.step(parse(message.SerializeToString()))
    ]
    session.close()
    assert resolved.outside is not None
    await resolved.outside.close()
    assert [each.WhichOneof("response") for each in answers] == ["request_headers", "request_body"]
    body = answers[1].request_body.response.body_mutation.body
    assert b"[EMAIL_ADDRESS]" in body
    assert ADDRESS not in body


async def test_a_chat_gets_back_what_was_replaced(tmp_path: Path) -> None:
    resolved = configure(written("chat", tmp_path))
    session, _ = await streams.begun(composed(resolved, streams.untold), ())
    given_back = b""
    for data in answer(len(DELTAS)):
        for outcome in await session.step(parse(streams.piece(data).SerializeToString())):
            told = ProcessingResponse.FromString(serialize(outcome))
            given_back += told.response_body.response.body_mutation.streamed_response.body
    session.close()
    await asyncio.sleep(0)
    assert resolved.outside is not None
    await resolved.outside.close()
    assert ADDRESS in given_back
    assert b"[EMAIL" not in given_back


async def test_the_reader_sees_each_event_of_the_upstream() -> None:
    async with await asyncio.start_server(upstream.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        seen = await asyncio.to_thread(chats, port, callers=2, events=4)
    assert (len(seen.events), len(seen.first), len(seen.whole)) == (8, 2, 2)
    assert min(*seen.events, *seen.first, *seen.whole) > 0


@pytest.mark.parametrize("leg", [CONSTANT, GO_HEADER], ids=lambda leg: leg.server.name)
def test_what_we_are_compared_with_answers_as_we_do(leg: Leg) -> None:
    if leg is GO_HEADER and (sentence := missing(BASELINE)):
        pytest.skip(sentence)
    with alone(leg) as server, alone(header(Server.HTTP2)) as ours:
        theirs, own = converse(server.socket, server.data), converse(ours.socket, ours.data)
    assert [each.WhichOneof("response") for each in theirs] == ["request_headers", "request_body"]
    assert theirs[0].mode_override.response_header_mode == own[0].mode_override.response_header_mode
    assert theirs[0].mode_override.request_body_mode == own[0].mode_override.request_body_mode
    if leg is GO_HEADER:
        assert theirs[0].request_headers.response.header_mutation == own[0].request_headers.response.header_mutation


def test_a_conversation_that_is_refused_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.direct.conversation", lambda *_, **__: conversation(b"{", buffered=False))
    with pytest.raises(RuntimeError, match="refused with 503"), alone(four_in_memory(Server.HTTP2)):
        pass


@pytest.mark.parametrize(
    ("now", "recorded", "told"),
    [
        (1000, None, "nothing is recorded"),
        (1010, 1000, "as recorded"),
        (1200, 1000, "20% more than recorded"),
        (800, 1000, "20% fewer than recorded"),
    ],
)
def test_a_change_is_told(now: float, recorded: float | None, told: str) -> None:
    assert told in Change("an exchange", now, recorded).sentence


def test_instructions_are_counted_alike_each_time() -> None:
    first, second = guard.compare(), guard.compare()
    assert [each.what for each in first] == [each.what for each in second]
    for one, other in zip(first, second, strict=True):
        assert one.now == pytest.approx(other.now, rel=guard.NOTICEABLE)
        assert one.now > 1000


def test_what_another_python_needs_is_nothing_to_compare_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RECORDED", tmp_path / "recorded.json")
    guard.record([Change("an exchange", 100.0, None)])
    assert guard.read() == {"an exchange": 100.0}
    monkeypatch.setattr("platform.python_version_tuple", lambda: ("4", "0", "0"))
    assert guard.read() == {}


def test_a_table_has_a_form_for_each_column() -> None:
    section = Section(
        "t", "n", (Column("name"), Column("rate"), Column("part", ".1%")), (("a", 1234.5, None), ("b", 1, 0.25))
    )
    assert section.table().splitlines()[2:] == ["| a | 1,234 |  |", "| b | 1 | 25.0% |"]


@pytest.mark.parametrize(("figure", "word"), [(14.9, "yes"), (15.0, "yes"), (15.1, "no")])
def test_a_target_is_met_or_not(figure: float, word: str) -> None:
    (row,) = targets.section({"engine, request-headers": figure}).rows
    assert row[-1] == word


def test_targets_are_compared_with_go_and_with_a_constant() -> None:
    ours, chain = header(Server.ENVOY).name, four(Server.ENVOY).name
    facts = {
        f"rate, {GO_HEADER.name}": 100.0,
        f"rate, {GO_NOTHING.name}": 100.0,
        f"rate, {ours}": 120.0,
        f"rate, {chain}": 40.0,
        f"server CPU, {CONSTANT.name}": 200.0,
        f"server CPU, {ours}": 60.0,
    }
    rows = [(where, measured, met) for _, where, _, measured, met in targets.section(facts).rows]
    name = Server.ENVOY.value
    assert rows == [(name, "1.20", "yes"), (name, "0.40", "no"), (name, "0.30", "yes")]
    assert targets.section({}).rows == ()


def measured() -> Measured:
    """As if each leg had been a little slower than the one before."""
    legs: list[Leg | None] = [None, *every((Server.HTTP2, Server.INSIDE), whole=True)]
    rounds = {
        leg: Round(Load(1000.0 / (1 + number), 1, 2, 3, 100, 0), Spent(number, 10, 0), 1 / (1 + number))
        for number, leg in enumerate(legs)
    }
    found = Measured(
        {leg: {MANY: [each]} for leg, each in rounds.items()}, {leg: {100.0: each} for leg, each in rounds.items()}
    )
    found.memory = {
        leg: (None if leg.server is Server.INSIDE else memory(os.getpid()), memory(os.getpid())) for leg in legs if leg
    }
    return found


def test_the_report_has_every_leg_and_the_picture_too() -> None:
    found = measured()
    report = Report([of_closed(found), of_steady(found)], plot.svg(found))
    text = markdown(report, "now", 60, "today")
    drawn = "".join(ET.fromstring(report.picture or "").itertext())
    for leg in every((Server.HTTP2, Server.INSIDE), whole=True):
        assert leg.name in text
        assert leg.name in drawn
    assert "![" in text
    assert "| one header, against Go | extproc, http2 | at least 1.0 times |" in text


def test_what_was_measured_is_written_down_three_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.RESULTS", tmp_path)
    found = measured()
    path = store(Report([of_closed(found)], plot.svg(found)), 60)
    told = json.loads(path.with_suffix(".json").read_text())
    assert told["facts"][f"rate, {GO_HEADER.name}"] > 0
    assert {"cpu", "cores", "python", "versions"} <= told["machine"].keys()
    assert f"![requests a second, and CPU for each]({path.stem}.svg)" in path.read_text()
    assert ET.parse(path.with_suffix(".svg")).getroot().tag.endswith("svg")


def test_a_leg_that_could_not_be_started_is_told() -> None:
    found = measured()
    found.skipped[header(Server.ENVOY)] = "Envoy cannot run Python\nand more"
    assert "Not measured: extproc, envoy: one header: Envoy cannot run Python\n" in of_closed(found).markdown()


def test_messages_are_told_as_ghz_reads_them() -> None:
    first, second = messages(conversation(b'{"{{": 1}', buffered=False))
    assert isinstance(first, ProcessingRequest)
    assert second.request_body.body == b'{"{{": 1}'
