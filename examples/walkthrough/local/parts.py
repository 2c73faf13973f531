"""What the walk-through runs on: the real parts that are on this machine, and what stands in for one that is not."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from extproc.envoy.binary import find_envoy

from .cluster import Cluster, real_cluster
from .control_plane import assets, control_plane
from .here import Here, OnPaper, OnTheApiServer, known_names
from .network import Network
from .paper import PaperCluster
from .pods import Node, needed
from .processes import Unfit

GIVEN = Path(__file__).with_name("given.yaml")
COREDNS = Path(__file__).parents[3] / "tools" / "coredns.sh"

INSTEAD = "a file says whose a token is, OpenBao is logged in to with AppRole, and names are a stand-in's"


@dataclass(frozen=True)
class Parts:
    """A node, and what is there besides the parts that are always real."""

    node: Node
    told: str


@asynccontextmanager
async def found_parts(folder: Path, *, paper: bool = False) -> AsyncIterator[Parts]:
    """All that is there before the page begins; with `paper` no API server, though there be one. Raises: Unfit."""
    needed("kubectl")
    needed("redis-server")
    try:
        found, why = (None, "as asked") if paper else (assets(), "")
    except Unfit as error:
        found, why = None, str(error)
    if found is None:
        cluster = PaperCluster(folder)
        async with _node(folder, cluster, OnPaper(cluster), None) as node:
            yield Parts(node, f"NO API server ({why}): {INSTEAD}")
        return
    coredns = _coredns()
    dns = "CoreDNS" if coredns else "a stand-in for CoreDNS (`sh tools/coredns.sh` gets that)"
    async with (
        control_plane(found, folder / "control-plane") as plane,
        real_cluster(plane, folder) as real,
        _node(folder, real, OnTheApiServer(plane), coredns) as node,
    ):
        yield Parts(node, f"a real API server, and {dns}")


@asynccontextmanager
async def _node(folder: Path, cluster: Cluster, here: Here, coredns: Path | None) -> AsyncIterator[Node]:
    (folder / "pods").mkdir(0o700)
    images = {"extproc": [sys.executable, "-m", "extproc"], "envoy": [str(find_envoy(os.environ))]}
    if coredns:
        images["coredns"] = [str(coredns)]
    node = Node(cluster, Network(cluster), folder / "pods", images, here.text, known_names)
    given = await cluster.kubectl(("apply", "-f", str(GIVEN)), folder)
    if given.code:
        raise Unfit(given.err.decode())
    try:
        await node.settle("kube-system", "coredns")
        yield node
    finally:
        await node.stop()


def _coredns() -> Path | None:
    """It, if it was built."""
    argv = ("sh", str(COREDNS), "--where")
    path = Path(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip())  # noqa: S603
    return path if path.exists() else None
