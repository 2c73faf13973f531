"""Where a process has its configuration from; and one that came from there."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from extproc.compose import resolved_with
from extproc.envoy.plan import Plan
from extproc.envoy.resolved import plan_of
from extproc.errors import ConfigError, ExtprocError, Place, Refused
from extproc.kept import Kept, Lease
from extproc.outside import Connected
from extproc.policy.documents import ExtProcConfiguration
from extproc.policy.places import Origin
from extproc.policy.read import parse
from extproc.policy.resolved import Resolved
from extproc.reload.snapshot import Look, Snapshot, name, reread, room_of, snapshot
from extproc.tether import snapshot_file

log = structlog.get_logger("extproc.reload")

FIXED: Final = ("gateway", "listen", "workers", "admin")
"""Fields of the ExtProcConfiguration that a process has for its whole life."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that was accepted. `name` says all that it was made from: `snapshot`, and the files of `looks`. `hash` is
    to be shown, so it says the snapshot alone: tokens are in the files. `plan` is that of a generated Envoy configuration, if
    there can be one. `lease` is what its outside has borrowed.
    """

    source: "Source" = field(repr=False)
    resolved: Resolved
    snapshot: Snapshot
    looks: Mapping[Path, Look]
    name: str
    hash: str
    lease: Lease = field(repr=False)
    plan: Plan | None = field(default=None, repr=False)


class Declined(ExtprocError):
    """A configuration that is refused: everything that is wrong with it, and the files that were looked at until then. `again`:
    it may be right, and be taken a moment later.
    """

    def __init__(
        self, errors: tuple[ConfigError, ...], looks: Mapping[Path, Look], lease: Lease, *, again: bool = False
    ) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors, self.looks, self.lease, self.again = errors, looks, lease, again


class Source:
    """A path, and `settings` that count instead of its own (as `configure` takes them). All that outlives one configuration of
    this process is in `kept`.
    """

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path, self.settings, self.kept = path, settings, Kept()
        self.room = 0
        """Bytes of the largest body that there is room for, from the start on."""
        self.stuck: set[asyncio.Future[Loaded]] = set()
        """Those that are being built for too long: nobody waits for them any more."""

    def start(self) -> Loaded:
        """The first configuration: what is there now, or what a parent gives to all its workers. Raises: Refused."""
        file = snapshot_file()
        given = file.read_bytes() if file else None
        try:
            loaded = self.load(reread(given) if given else snapshot(self.path))
        except Declined as declined:
            raise Refused(list(declined.errors)) from None
        self.room = max(loaded.resolved.needs.max_body_bytes, room_of(given) if given else 0)
        return loaded

    def load(self, found: Snapshot, running: Loaded | None = None) -> Loaded:
        """The configuration that was `found`, judged as at a start; and whether a process that was started with `running` can
        take it over. It may run in a thread.

        Raises:
            Declined: and the lease is to be ended.
        """
        lease, looks, again = self.kept.lease(), dict[Path, Look](), False
        try:
            return self._load(found, running, lease, looks)
        except Refused as refused:
            errors = refused.errors
        except ConfigError as error:
            errors = (error,)
        except BaseException as error:  # somebody else's constructor may want an end of the process: it serves
            if running is None:
                raise
            log.exception("load_failed")
            what = f"it could not be loaded: a defect, {type(error).__name__}"
            errors, again = (ConfigError(what, Place(str(found.path))),), isinstance(error, OSError | MemoryError)
        raise Declined(errors, looks, lease, again=again)

    def _load(self, found: Snapshot, running: Loaded | None, lease: Lease, looks: dict[Path, Look]) -> Loaded:
        """Raises: Refused, ConfigError."""

        def outside(settings: ExtProcConfiguration, directory: Path) -> Connected:
            return Connected(settings, directory, self.kept.now, lease, looks)

        documents = parse(found.path, found.files)
        resolved = resolved_with(documents, self.settings, outside)
        origin = documents.configuration.origin
        if errors := list(_beyond(running.resolved, resolved, origin, self.room)) if running else []:
            raise Refused(errors)
        return Loaded(self, resolved, found, looks, name(found, looks), name(found, {}), lease, _plan(resolved))


def _beyond(running: Resolved, wanted: Resolved, origin: Origin, most: int) -> Iterator[ConfigError]:
    """What a running process cannot take over. The whole is refused then: of a half there would be no file that says it, and
    the next start would make something else.
    """
    for field_name in FIXED:
        if getattr(running.settings, field_name) != getattr(wanted.settings, field_name):
            yield ConfigError(
                f"`{field_name}` cannot change while the server runs: restart it for this configuration, or undo this",
                origin.place(field_name),
                "RestartNeeded",
            )
    more = wanted.needs.max_body_bytes
    if more > most:
        yield ConfigError(
            f"an extension reads bodies of up to {more} bytes, and the server was started for {most}: restart it for this"
            " configuration, or lower the `maxBodyBytes`",
            origin.place(),
            "RestartNeeded",
        )


def _plan(resolved: Resolved) -> Plan | None:
    try:
        return plan_of(resolved)
    except ConfigError:
        return None  # it wants an Envoy that is configured by hand
