"""Log lines on a real pipe, whose reader is as slow, as stuck or as gone as it likes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from extproc.telemetry.sink import TOGETHER, Sink
from tests.disks import full_disk

PATIENCE = 10.0
FULL = 65536
"""Bytes that a pipe takes (pipe(7))."""

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        with suppress(OSError):
            os.close(end)


def read(reading: int, lines: int) -> list[bytes]:
    """So many lines."""
    found = b""
    while found.count(b"\n") < lines:
        found += os.read(reading, FULL)
    return found.splitlines()


def test_lines_leave_in_their_order(pipe: Pipe) -> None:
    reading, writing = pipe
    sink = Sink(writing)
    lines = [f"line {number}" for number in range(500)]
    for line in lines:
        sink.write(line)
    assert sink.flush(PATIENCE)
    assert read(reading, 500) == [line.encode() for line in lines]
    assert sink.dropped == 0


def test_nobody_waits_for_a_reader_that_has_stopped(pipe: Pipe) -> None:
    reading, writing = pipe
    sink = Sink(writing, most=FULL)
    for _ in range(4 * FULL // 1024):
        sink.write("x" * 1023)
    assert not sink.flush(0)
    assert 0 < sink.dropped < 4 * FULL // 1024

    dropped, kept = sink.dropped, 4 * FULL // 1024 - sink.dropped
    *lines, last = read(reading, kept + 1)
    [told] = [json.loads(line) for line in (*lines, last) if not line.startswith(b"x")]
    assert told.keys() == {"timestamp", "level", "event", "number"}
    assert (told["event"], told["number"]) == ("log_lines_dropped", dropped)
    sink.write("once")
    assert read(reading, 1) == [b"once"]


def test_a_reader_that_is_gone_fails_nobody(pipe: Pipe) -> None:
    reading, writing = pipe
    sink = Sink(writing)
    os.close(reading)
    for _ in range(3):
        sink.write("unheard")
    assert sink.flush(PATIENCE)
    assert sink.dropped == 3


def test_what_comes_back_says_what_is_missing(pipe: Pipe) -> None:
    reading, writing = pipe
    spare = os.dup(writing)
    os.close(writing)
    sink = Sink(writing)
    sink.write("lost")
    assert sink.flush(PATIENCE)
    os.dup2(spare, writing)
    os.close(spare)
    sink.write("kept")
    told, kept = read(reading, 2)
    assert (json.loads(told)["number"], kept) == (1, b"kept")


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    """A disk that is full takes the beginning of a line, and once there is room, what comes later."""
    with (tmp_path / "log").open("ab") as file:
        sink = Sink(file.fileno())
        for _ in range(2):
            with full_disk(100):
                sink.write("x" * 150)
                assert sink.flush(PATIENCE)
        sink.write("kept")
        assert sink.flush(PATIENCE)
    half, told, kept = (tmp_path / "log").read_bytes().splitlines()
    assert (half, json.loads(told)["number"], kept) == (b"x" * 100, 2, b"kept")


def test_a_pipe_that_somebody_made_not_to_block_loses_nothing(pipe: Pipe) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    sink = Sink(writing)
    lines = [f"{number:01023}" for number in range(2 * FULL // 1024)]
    for line in lines:
        sink.write(line)
    assert read(reading, len(lines)) == [line.encode() for line in lines]
    assert sink.dropped == 0


def test_lines_of_several_processes_are_not_mixed(pipe: Pipe) -> None:
    """Two sinks on one pipe, as two workers have it."""
    reading, writing = pipe
    names = "ab"
    sinks = {name: Sink(writing) for name in names}

    def write(name: str) -> None:
        for _ in range(300):
            sinks[name].write(name * (TOGETHER // 3))

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    found = read(reading, 600)
    for thread in threads:
        thread.join(PATIENCE)
    assert {bytes(set(line)) for line in found} == {b"a", b"b"}
    assert {len(line) for line in found} == {TOGETHER // 3}


PROGRAM = """
import structlog
from extproc.telemetry import configure_logging
configure_logging()
for number in range({lines}):
    structlog.get_logger("x").warning("said", number=number, more="x" * 400)
print("at its end", flush=True)
"""


def program(lines: int) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", PROGRAM.format(lines=lines)], stdout=pipe, stderr=pipe)


def test_a_process_that_ends_has_written_all() -> None:
    process = program(100)
    _, log = process.communicate(timeout=PATIENCE)
    assert [json.loads(line)["number"] for line in log.splitlines()] == list(range(100))
    assert process.returncode == 0


def test_a_process_ends_though_nobody_reads_its_log() -> None:
    with program(1000) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"at its end\n"
        assert process.wait(PATIENCE) == 0


def test_a_process_without_standard_error_writes_into_nothing_else(pipe: Pipe) -> None:
    """Descriptor 2 is the next file that is opened there."""
    script = f"exec {sys.executable} -c '{PROGRAM.format(lines=1)}' 2>&-"
    ended = subprocess.run(["sh", "-c", script], capture_output=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"at its end\n")
