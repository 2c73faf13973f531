"""The service as an ASGI application, on whatever carries HTTP/2 with trailers. It is made for pyvoy, which runs it inside
Envoy (PROTOCOL 7); who may connect is there the affair of Envoy's listener.
"""

from collections.abc import Mapping
from typing import Any

from extproc.wire.call import BODY, START, Call, Receive, Send
from extproc.wire.service import GRPC, Service

Scope = Mapping[str, Any]


class Application(Service):
    """An ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        fields = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
        kind = next((value for name, value in fields if name == b"content-type"), b"")
        if scope["method"] != "POST" or not GRPC.fullmatch(kind):
            await _no_grpc(send, 415 if scope["method"] == "POST" else 405)
            return
        call = Call(receive, send, self.limit)
        try:
            await self.serve(call, scope["path"], fields)
        finally:
            call.leave()


async def _no_grpc(send: Send, status: int) -> None:
    """What is no gRPC gets an answer of HTTP (gRPC over HTTP/2, "Content-Type")."""
    allow = [(b"allow", b"POST")] if status == 405 else []
    await send({"type": START, "status": status, "headers": allow, "trailers": False})
    await send({"type": BODY, "body": b"", "more_body": False})
