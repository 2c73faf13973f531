"""The metrics of several processes as one text.

Each worker counts on its own and says so in a label: a worker that is started anew begins at zero again, and Prometheus
knows that of a series. Sums over workers would go backwards.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

SAMPLE: Final = re.compile(r"(?m)^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{|(?= ))")
"""Where a line of the text format begins that is a sample. A newline in a label's value is escaped, so each line is one."""


async def expose(registry: CollectorRegistry) -> bytes:
    """What is on `registry`, in Prometheus' text format (version 0.0.4). In a thread: thousands of series take a tenth of a
    second, for which no exchange should wait.
    """
    return await asyncio.to_thread(generate_latest, registry)


def merge(texts: Mapping[str, bytes | None]) -> bytes:
    """The texts of all workers, by their names, with a label `worker` on each sample and one head for each family. None is
    a worker that did not answer: `extproc_worker_up` says so.
    """
    families: dict[str, list[str]] = {}
    for worker, text in texts.items():
        for head, samples in _families((text or b"").decode()):
            families.setdefault(head, []).append(_labelled(samples, worker))
    up = "".join(f'extproc_worker_up{{worker="{worker}"}} {int(text is not None)}\n' for worker, text in texts.items())
    head = "# HELP extproc_worker_up Whether the worker told its metrics.\n# TYPE extproc_worker_up gauge\n"
    return "".join([*(head + "".join(samples) for head, samples in families.items()), head, up]).encode()


def _families(text: str) -> list[tuple[str, str]]:
    """Each family as its head (`# HELP` and `# TYPE`) and its samples."""
    found = re.split(r"(?m)^((?:# .*\n)+)", text)
    return list(zip(found[1::2], found[2::2], strict=True))


def _labelled(samples: str, worker: str) -> str:
    def label(match: re.Match[str]) -> str:
        more = match[0].endswith("{")
        return f'{match[1]}{{worker="{worker}"{"," if more else "}"}'

    return SAMPLE.sub(label, samples)
