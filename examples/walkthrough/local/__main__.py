"""`python -m examples.walkthrough.local`: run docs/walkthrough.md, line by line, on this machine alone."""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from . import page as pages
from .desk import Desk, open_desk
from .page import Broken, Step
from .parts import Parts, found_parts
from .pods import BIN
from .processes import Unfit
from .shell import Shell, shell

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "walkthrough.md"
NEEDED = ("examples/walkthrough", "deploy/kustomize", "deploy/vault")
"""What the page's commands read, and write: they get a copy."""
ALWAYS = "the real Envoy, extproc with two workers, redis-server, OpenBao"


async def main(wishes: argparse.Namespace) -> int:
    """What to exit with: 1 for a page that is not true, 3 for a machine that lacks what it takes."""
    page = wishes.page
    try:
        steps, excerpts = pages.read(page.read_text("utf-8"))
        for excerpt in excerpts:
            excerpt.check(ROOT)
        async with prepared(paper=wishes.paper) as (place, parts):
            print(f"{page.name}: {len(steps)} steps, on {ALWAYS}, and {parts.told}.", flush=True)
            await walk(steps, place, show=wishes.show)
    except Broken as error:
        print(f"\nerror: {page}: {error}", file=sys.stderr)
        return 1
    except Unfit as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 3
    print(f"\nEvery line of {page.name} does what the page says.")
    return 0


async def walk(steps: Sequence[Step], place: Shell, *, show: bool) -> None:
    """Raises: Broken, at the first step that is not as the page says."""
    heading = ""
    for step in steps:
        if step.heading != heading:
            heading = step.heading
            print(f"\n{heading}", flush=True)
        began = time.monotonic()
        output = await place.run(step)
        pages.check(step, output)
        print(f"  line {step.line}: as written ({time.monotonic() - began:.1f} s)", flush=True)
        if show:
            print(pages.indented(output), flush=True)


@asynccontextmanager
async def prepared(*, paper: bool) -> AsyncIterator[tuple[Shell, Parts]]:
    """A shell in a cluster as the page finds it; all of it gone at the end. Raises: Unfit."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="walk-")))
        tree, steps = folder / "tree", folder / "steps"
        steps.mkdir()
        for name in NEEDED:
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("local", "__pycache__"))
        parts = await stack.enter_async_context(found_parts(folder, paper=paper))
        outside, inside = await stack.enter_async_context(open_desk(Desk(parts.node), folder))
        parts.node.bin = inside
        environ = {
            "PATH": f"{outside}:{BIN}:{os.environ['PATH']}",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
        }
        yield await stack.enter_async_context(shell(steps, tree, environ)), parts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("walkthrough", description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE, help="another page (default: docs/walkthrough.md)")
    parser.add_argument("--show", action="store_true", help="what each step prints")
    parser.add_argument("--paper", action="store_true", help="as on a machine without an API server")
    return parser.parse_args()


async def until_told(wishes: argparse.Namespace) -> int:
    """Both signals end it with all that it started, also where a shell that started it in the background had SIGINT ignored."""
    task = asyncio.create_task(main(wishes))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(until_told(arguments())))
    except asyncio.CancelledError:
        sys.exit(130)
