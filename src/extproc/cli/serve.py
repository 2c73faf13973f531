"""`extproc serve`: the server."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer
import uvloop

from extproc import hosting
from extproc.admin import Admin, Workers
from extproc.cli.options import Config
from extproc.compose import CATALOG, configure
from extproc.policy.describe import catalog
from extproc.policy.resolved import Resolved
from extproc.serving import Process
from extproc.telemetry import configure_logging
from extproc.workers import Crew, Patience, supervise, tether

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
    resolved = configure(config, admin=admin, workers=workers)
    if transport == "envoy":
        code = uvloop.run(hosting.serve(resolved, config))
    elif worker is not None:
        code = uvloop.run(_work(Process(resolved, worker, worker_admin or resolved.settings.admin)))
    elif resolved.settings.workers == 1:
        code = uvloop.run(_work(Process(resolved, 0, resolved.settings.admin)))
    else:
        code = uvloop.run(_lead(resolved, config))
    raise typer.Exit(code)


async def _work(process: Process) -> int:
    tied = tether()
    return await process.run(tied.ready if tied else lambda: None)


async def _lead(resolved: Resolved, config: Path) -> int:
    """The parent of several workers: it owns the admin port, and each worker has one that only the parent can reach."""
    count = resolved.settings.workers
    with tempfile.TemporaryDirectory(prefix="extproc-") as folder:
        sockets = {str(index): Path(folder) / f"admin-{index}.sock" for index in range(count)}
        told = Workers(sockets)
        admin = Admin(
            resolved.settings.admin,
            health=told.health,
            metrics=told.metrics,
            status=told.status,
            catalog=lambda: catalog(CATALOG),
        )

        def worker(index: int) -> list[str]:
            return [
                sys.executable, "-m", "extproc", "serve", "--config", str(config), "--workers", str(count),
                "--worker", str(index), "--worker-admin", f"unix://{sockets[str(index)]}",
            ]  # fmt: skip

        await admin.start()
        try:
            return await supervise(Crew(count, worker, Patience(drain=resolved.settings.drain_seconds + 30)))
        finally:
            await admin.stop()
