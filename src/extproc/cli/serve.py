"""`extproc serve`: the server."""

import asyncio
import os
import sys
from typing import Annotated, Literal

import typer

from extproc import hosting
from extproc.admin import Admin, Workers
from extproc.cli.options import Config
from extproc.compose import CATALOG
from extproc.folder import check_sockets, own_folder
from extproc.policy.describe import catalog
from extproc.reload.leading import led
from extproc.reload.source import Loaded, Source
from extproc.serving import Process
from extproc.telemetry import configure_logging
from extproc.telemetry.otel import wanted
from extproc.tether import tether
from extproc.workers import Crew, Patience, supervise

NAME = "serve"
NEEDS_ARGUMENTS = True


def command(
    config: Config,
    admin: Annotated[str | None, typer.Option(metavar="ADDR", help="Where the admin port listens.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="How many processes serve.")] = None,
    transport: Annotated[Literal["http2", "envoy"], typer.Option(help="What carries the messages.")] = "http2",
    worker: Annotated[int | None, typer.Option(hidden=True)] = None,
    worker_admin: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """The ext_proc server. SIGTERM drains it, Ctrl-C ends it at once; exit code 2 before any port opens if it is refused."""
    configure_logging()
    path = config.absolute() if transport == "envoy" else config  # its processes work in another folder
    loaded = Source(path, admin=admin, workers=workers).start()
    settings = loaded.resolved.settings
    wanted(os.environ)
    if transport == "envoy":
        code = asyncio.run(hosting.serve(loaded))
    elif worker is not None:
        code = asyncio.run(_work(Process(loaded, worker, worker_admin or settings.admin, tether())))
    elif settings.workers == 1:
        code = asyncio.run(_work(Process(loaded, 0, settings.admin, tether())))
    else:
        code = asyncio.run(_lead(loaded))
    raise typer.Exit(code)


async def _work(process: Process) -> int:
    return await process.run(process.tied.ready if process.tied else lambda: None)


async def _lead(loaded: Loaded) -> int:
    """The parent of several workers: it owns the admin port, and each worker has one that only the parent can reach."""
    settings, config = loaded.resolved.settings, loaded.source.path
    count = settings.workers
    with own_folder() as folder:
        check_sockets(folder)
        sockets = {str(index): folder / f"admin-{index}.sock" for index in range(count)}
        told = Workers(sockets)
        admin = Admin(
            settings.admin,
            health=told.health,
            metrics=told.metrics,
            status=told.status,
            catalog=lambda: catalog(CATALOG),
        )

        def worker(index: int) -> list[str]:
            return [
                sys.executable, "-m", "extproc", "serve", "--config", str(config), "--workers", str(count),
                "--admin", settings.admin,
                "--worker", str(index), "--worker-admin", f"unix://{sockets[str(index)]}",
            ]  # fmt: skip

        await admin.start()
        try:
            crew = Crew(count, worker, Patience(drain=settings.drain_seconds + 30))
            return await supervise(led(crew, loaded, folder))
        finally:
            await admin.stop()
