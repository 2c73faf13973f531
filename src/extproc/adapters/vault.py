"""Secrets in a KV engine of Vault or OpenBao, version 1 or 2.

A path is read once for as long as its values count. They exist as `Secret` only: the thread that reads them seals them.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

import hvac

from extproc.adapters.flights import Flights
from extproc.adapters.secrets import MOST_BYTES, SEGMENT, sealed
from extproc.adapters.vault_client import VaultClient
from extproc.adapters.vault_http import DENIED, MISSING, STRANGE, UNREADABLE, Trouble, attempt
from extproc.core.measure import CacheUse
from extproc.core.secret import Secret
from extproc.errors import ConfigError, Place, Unavailable

CACHED: Final = 10_000
MOST_READS: Final = 256
"""Paths that are being read at a time; beyond that nothing more is asked."""
MISSING_SECONDS: Final = 10.0
"""How long it is remembered that there is nothing, or that it is denied."""
AHEAD: Final = 0.9
"""The part of its time after which a value that is used is read again, in the background."""
PATIENCE: Final = 0.1
"""Seconds to wait for a new value where there is a last good one."""
STALE_SECONDS: Final = 1.0
"""How long a last good value is served before Vault is asked again whether it is back."""

Version: TypeAlias = Literal[1, 2]
Names = tuple[str, ...]
Value = Secret | Trouble | None


@dataclass(frozen=True, slots=True)
class Found:
    """What Vault has at a path: a value for each field, or what is wrong with it. `lease` in seconds, 0 if it says none."""

    values: Mapping[str, Value]
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Location:
    """What to read, and the Backends that its values are for."""

    mount: str
    path: str
    version: Version
    backends: frozenset[str]


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer, and until when (seconds of the store's clock) it is `fresh`, its absent fields are `absent`, and it may
    stand in for one that cannot be had (`last`). From `ahead` on it is read again before its end. `stale`: it stands in now.
    """

    answer: Found | Trouble
    fresh: float
    ahead: float
    absent: float
    last: float
    stale: bool = False

    def counts(self, field: str, now: float) -> bool:
        here = isinstance(self.answer, Trouble) or field in self.answer.values
        return now < (self.fresh if here else min(self.fresh, self.absent))


class VaultSecrets:
    """A `SecretStore`: `<mount>/<prefix>/<path>`, field. Also a `Dependency`.

    `cache_ttl` and `stale_for` in seconds: how long a value counts (less if its lease is shorter), and how much longer while
    Vault is down. `version` None: Vault is asked, once. `now`: seconds of a clock that is never set back.
    """

    def __init__(
        self,
        client: VaultClient,
        mount: str,
        prefix: str,
        backends: Iterable[str],
        *,
        cache_ttl: float = 60.0,
        stale_for: float = 300.0,
        version: Version | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises: ConfigError, for a mount or prefix that is no path."""
        self.backends = frozenset(backends)
        self.name = f"vault:{'/'.join(filter(None, (mount, prefix)))}"
        self._client = client
        self._mount = "/".join(_segments(mount, "mount", least=1))
        self._prefix = _segments(prefix, "prefix", least=0)
        self._cache_ttl, self._stale_for, self._version, self._now = cache_ttl, stale_for, version, now
        self._cache: OrderedDict[Names, Entry] = OrderedDict()
        self._flights = Flights()
        self.cache = CacheUse()

    def __repr__(self) -> str:
        return f"VaultSecrets({self.name!r})"

    async def read(self, path: Sequence[str], field: str) -> Secret | None:
        """As the port says. What cannot name something below the prefix is None, and Vault is not asked. A path that Vault
        denies to us is Unavailable: the operator's mistake, not a caller without a credential.
        """
        names = tuple(path)
        if not names or not all(map(SEGMENT.fullmatch, (*names, field))):
            return None
        now = self._now()
        entry = self._cache.get(names)
        if entry is None or not entry.counts(field, now):
            found = await self._awaited(names, entry, now)
            self._count(known=False, stale=found is entry or found.stale)
            return self._value(found, names, field)
        self._count(known=True, stale=entry.stale)
        self._cache.move_to_end(names)
        if now >= entry.ahead:
            self._start(names)
        return self._value(entry, names, field)

    async def probe(self) -> str | None:
        """Whether Vault answers, lets us in, and has the mount."""
        if wrong := await self._client.probe():
            return wrong
        version = await self._known_version()
        return version.sentence if isinstance(version, Trouble) else None

    async def close(self) -> None:
        """Wait for what is in flight. The client is closed by who made it."""
        await self._flights.landed()

    def _count(self, *, known: bool, stale: bool) -> None:
        if stale:
            self.cache.stale += 1
        elif known:
            self.cache.hits += 1
        else:
            self.cache.misses += 1

    def _value(self, entry: Entry, names: Names, field: str) -> Secret | None:
        """Raises: Unavailable, with a text of ours."""
        answer = entry.answer
        value = answer if isinstance(answer, Trouble) else answer.values.get(field)
        if isinstance(value, Trouble):
            raise Unavailable(f"secret {'/'.join((*names, field))}: {value.sentence}")
        return value

    async def _awaited(self, names: Names, old: Entry | None, now: float) -> Entry:
        """What a read says; the last good answer if that takes too long and it is still allowed."""
        flight = self._start(names)
        if flight is None:
            return _now_only(Trouble("too many secrets are being read at once", down=True))
        if old is not None and now < old.last:
            await asyncio.wait((flight,), timeout=PATIENCE)
            if not flight.done():
                return old
        return await asyncio.shield(flight)

    def _start(self, names: Names) -> asyncio.Task[Entry] | None:
        """The read of this path; None if there are too many others."""
        if len(self._flights) >= MOST_READS and names not in self._flights:
            return None
        return self._flights.start(names, lambda: self._read(names))

    async def _read(self, names: Names) -> Entry:
        version = await self._known_version()
        if isinstance(version, Trouble):
            return self._remember(names, version)
        path = "/".join((*self._prefix, *names))
        place = Location(self._mount, path, version, self.backends)
        return self._remember(names, await self._client.ask("read", lambda client: found(client, place)))

    def _remember(self, names: Names, answer: Found | Trouble) -> Entry:
        now = self._now()
        if isinstance(answer, Trouble) and answer.login:
            return _now_only(answer)
        if isinstance(answer, Trouble) and answer.down:
            old = self._cache.get(names)
            if old is None or now >= old.last:
                return _now_only(answer)
            until = max(old.fresh, min(now + STALE_SECONDS, old.last))
            entry = replace(old, fresh=until, absent=until, ahead=until, stale=True)
        else:
            entry = self._entry(answer, now)
        self._cache[names] = entry
        self._cache.move_to_end(names)
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return entry

    def _entry(self, answer: Found | Trouble, now: float) -> Entry:
        briefly = now + min(MISSING_SECONDS, self._cache_ttl)
        if isinstance(answer, Trouble) or not answer.values:
            return Entry(answer, briefly, briefly, briefly, briefly)
        ttl = min(self._cache_ttl, answer.lease or self._cache_ttl)
        return Entry(answer, now + ttl, now + ttl * AHEAD, briefly, now + ttl + self._stale_for)

    async def _known_version(self) -> Version | Trouble:
        if self._version is not None:
            return self._version
        return await self._flights.join("version", self._ask_version)

    async def _ask_version(self) -> Version | Trouble:
        version: Version | Trouble = await self._client.ask("mount", lambda client: mounted(client, self._mount))
        if version is DENIED or version is MISSING:
            return Trouble(
                f"Vault shows no mount {self._mount!r} to the gateway's role: look at `mount`, or set `version`"
            )
        if not isinstance(version, Trouble):
            self._version = version
        return version


def found(client: hvac.Client, place: Location) -> Found | Trouble:
    """Read a path, in a thread. A version that was deleted or destroyed is nothing."""
    kv, mount, path = client.secrets.kv, place.mount, place.path
    if place.version == 1:
        answer = attempt(lambda: kv.v1.read_secret(path, mount_point=mount))
    else:
        answer = attempt(lambda: kv.v2.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True))
    if answer is MISSING:
        return Found({})
    if answer is UNREADABLE:  # whoever writes this secret made it so, and Vault is not down for everybody else
        return replace(UNREADABLE, down=False)
    if isinstance(answer, Trouble):
        return answer
    data = _object(answer, "data") if place.version == 1 else _object(_object(answer, "data"), "data")
    if data is None:
        return STRANGE
    lease = answer.get("lease_duration")
    values = {name: _sealed(value, place) for name, value in data.items() if SEGMENT.fullmatch(name)}
    return Found(values, lease if isinstance(lease, int) and lease > 0 else 0)


def mounted(client: hvac.Client, mount: str) -> Version | Trouble:
    """Which version of KV a mount is, in a thread: asked as Vault's own command line does."""
    answer = attempt(lambda: client.adapter.get(f"/v1/sys/internal/ui/mounts/{mount}"))
    if isinstance(answer, Trouble):
        return answer
    data = _object(answer, "data")
    if data is None:
        return STRANGE
    if data.get("type") not in ("kv", "generic"):
        return Trouble(f"the mount {mount!r} is no KV secrets engine")
    return 2 if (_object(data, "options") or {}).get("version") == "2" else 1


def _sealed(value: object, place: Location) -> Value:
    if not isinstance(value, str) or len(value) > MOST_BYTES:
        return Trouble(f"it is not text of at most {MOST_BYTES} characters")
    try:
        return sealed(value.encode("utf-8", "surrogatepass"), place.path, place.backends)
    except Unavailable:
        return Trouble("it is not one line of printable ASCII without white space at its ends")


def _object(answer: Any, name: str) -> dict[str, Any] | None:
    part = answer.get(name) if isinstance(answer, dict) else None
    return part if isinstance(part, dict) else None


def _now_only(trouble: Trouble) -> Entry:
    """An answer that is for who asked, and not remembered."""
    return Entry(trouble, 0.0, 0.0, 0.0, 0.0)


def _segments(path: str, what: str, least: int) -> Names:
    names = tuple(path.strip("/").split("/")) if path.strip("/") else ()
    if len(names) < least or not all(map(SEGMENT.fullmatch, names)):
        raise ConfigError(
            f"{path!r} is no path: write names of letters, digits, '_', '-' and inner dots, with '/' between them",
            Place(field=f"vault.{what}"),
        )
    return names
