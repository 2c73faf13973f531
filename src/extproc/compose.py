"""The composition root: documents -> outside -> filters -> chains -> engine -> server. Everything is imported here, and
nothing is decided.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from extproc.adapters.passport import KEY_BYTES, SealedPassports
from extproc.core.admission import Admission
from extproc.core.engine import Engine
from extproc.core.event import Record
from extproc.outside import Connected, Offline
from extproc.policy.documents import Listen, ListenTLS
from extproc.policy.read import Documents, load
from extproc.policy.resolve import MakeOutside, resolve
from extproc.policy.resolved import Resolved
from extproc.wire.codec import mask
from extproc.wire.listener import Listener, Tls, for_worker
from extproc.wire.pace import PACE
from extproc_filters import FILTERS

CATALOG: Final = FILTERS
"""The kinds that need no domain: ours."""


def configure(path: Path, *, live: bool = True, **settings: object) -> Resolved:
    """The configuration at `path`, resolved; with dependencies that are asked only if it is `live`. `settings` are fields of
    the ExtProcConfiguration that count instead of its own (None leaves them).

    Raises:
        Refused: with every error that was found.
    """
    return resolved_with(load(path), settings, Connected if live else Offline)


def resolved_with(documents: Documents, settings: Mapping[str, object], outside: MakeOutside) -> Resolved:
    """`documents`, resolved, with `settings` as `configure` takes them. Raises: Refused."""
    given = {name: value for name, value in settings.items() if value is not None}
    document = documents.configuration
    model = document.model.model_copy(update=given)
    return resolve(replace(documents, configuration=replace(document, model=model)), CATALOG, outside)


def engine(resolved: Resolved, tell: Callable[[Record], None]) -> Engine:
    """What all exchanges of this configuration share. A process that may have another one after it replaces what they have in
    common (extproc.worker).
    """
    passports = SealedPassports(resolved.gateway, os.urandom(KEY_BYTES)) if resolved.upstream else None
    routing = resolved if resolved.routing_headers else None
    return Engine(
        resolved, PACE, Admission(), mask, tell, passports, resolved, routing=routing, publishing=resolved.publishing
    )


def listeners(resolved: Resolved, index: int = 0) -> list[Listener]:
    """Where worker `index` listens."""
    found = [_listener(listen, resolved.directory) for listen in resolved.settings.listen]
    return [for_worker(listener, index, resolved.settings.workers) for listener in found]


def _listener(listen: Listen, directory: Path) -> Listener:
    return Listener(listen.address, _tls(listen.tls, directory) if listen.tls else None, listen.insecure)


def _tls(tls: ListenTLS, directory: Path) -> Tls:
    return Tls(directory / tls.cert, directory / tls.key, directory / tls.client_ca, tls.allowed_clients)
