"""When a server can be asked."""

import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.process import alive

POLL = 0.005
"""Seconds between two questions."""


def await_serving(socket: Path, pid: int, patience: float) -> None:
    """Wait until the server on `socket`, process `pid`, says SERVING.

    Raises:
        RuntimeError: it does not within `patience` seconds, or has ended.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and alive(pid):
        if socket.exists() and _serves(socket):
            return
        time.sleep(POLL)
    why = f"does not say SERVING within {patience:g} seconds" if alive(pid) else "ended before it said SERVING"
    raise RuntimeError(f"the server on {socket} {why}")


def _serves(socket: Path) -> bool:
    """A channel of its own each time: one that has failed waits before it tries again."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"unix:{socket}", options) as channel:
        try:
            told = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
        return bool(told.status == health_pb2.HealthCheckResponse.SERVING)
