"""A small HTTP server that answers as told, for what a real one cannot be made to say."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ssl import SSLContext

from aiohttp import web

from tests.faults.background import Background

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextmanager
def answering(background: Background, answer: Answer, tls: SSLContext | None = None) -> Iterator[int]:
    """Its port, on loopback."""
    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return int(runner.addresses[0][1])

    port = background.run(start())
    try:
        yield port
    finally:
        background.run(runner.cleanup())
