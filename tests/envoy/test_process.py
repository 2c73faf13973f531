"""Processes live and die together."""

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.envoy.process import Child, Ended, launch, run

SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(0)); {before}; time.sleep(600)"
TOUCH = "import pathlib; pathlib.Path({path!r}).touch()"


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def exists(path: Path) -> bool:
    return path.exists()


def sleeper(name: str, mark: Path) -> Child:
    """A process that makes the file `mark`, and then sleeps until it is told to end."""

    async def ready() -> bool:
        return exists(mark)

    return Child(name, python(SLEEPER.format(before=TOUCH.format(path=str(mark)))), ready)


async def never() -> bool:
    return False


def signalling(number: signal.Signals) -> Callable[[], None]:
    return functools.partial(os.kill, os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_a_signal_ends_all(tmp_path: Path, number: signal.Signals, code: int) -> None:
    children = [sleeper("one", tmp_path / "1"), sleeper("two", tmp_path / "2")]
    assert await run(children, signalling(number)) == code
    assert exists(tmp_path / "2")


async def test_the_end_of_one_is_the_end_of_all(tmp_path: Path) -> None:
    mark = tmp_path / "first"

    async def ready() -> bool:
        return True

    short = Child("the second", python("import time; time.sleep(0.2); raise SystemExit(7)"), ready)
    with pytest.raises(Ended, match=r"^the second ended with exit code 7$") as caught:
        await run([sleeper("the first", mark), short], lambda: None)
    assert caught.value.code == 1


async def test_a_refused_configuration_stays_one() -> None:
    with pytest.raises(Ended, match="the server ended with exit code 2") as caught:
        await run([Child("the server", python("raise SystemExit(2)"), never)], lambda: None)
    assert caught.value.code == 2


async def test_death_by_signal_is_named() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(Ended, match="the server ended by signal SIGKILL"):
        await run([Child("the server", python(code), never)], lambda: None)


async def test_what_never_gets_ready_is_ended() -> None:
    child = Child("the server", python("import time; time.sleep(600)"), never, patience=0.2)
    with pytest.raises(Ended, match=r"the server was not ready within 0\.2 seconds"):
        await run([child], lambda: None)


async def test_the_next_starts_when_the_one_before_is_ready(tmp_path: Path) -> None:
    second = tmp_path / "second"
    with pytest.raises(Ended):
        await run([Child("one", python("import time; time.sleep(9)"), never, 0.2), sleeper("two", second)], print)
    assert not exists(second)


async def test_what_does_not_listen_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {}; time.sleep(600)"
    mark = tmp_path / "mark"

    async def ready() -> bool:
        return exists(mark)

    stubborn = Child("stubborn", python(code.format(TOUCH.format(path=str(mark)))), ready, grace=0.2)
    await asyncio.wait_for(run([stubborn], signalling(signal.SIGTERM)), 10)


async def test_a_child_does_not_outlive_its_parent() -> None:
    parent = (
        "import asyncio, os, sys\n"
        "from extproc.envoy.process import launch\n"
        "async def main():\n"
        "    child = await launch([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    outer = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE)
    assert outer.stdout is not None
    pid = int(await outer.stdout.readline())
    outer.kill()
    await outer.wait()
    async with asyncio.timeout(10):
        while _alive(pid):  # noqa: ASYNC110 - another process, which tells nobody here
            await asyncio.sleep(0.02)


def _alive(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet collected does not."""
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def test_launch_starts_a_session_of_its_own() -> None:
    process = await launch(python("import os; raise SystemExit(os.getsid(0) != os.getpid())"))
    assert await process.wait() == 0
