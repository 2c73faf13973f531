"""The keys of `redactionStyle: hash`, one for each namespace."""

from collections import OrderedDict
from typing import Final

from extproc.core.secret import mac_key
from extproc.errors import ConfigError, Place, Unavailable
from extproc.ports import Outside
from extproc_filters.pii.config import HashKey
from extproc_filters.pii.edits import Mac, Writer, hashing

NAMESPACES: Final = 1024
"""Keys that are kept at once."""


class HashKeys:
    """Keys derived from the one at `place`. The store caches; what is here is only the way from it to the body.

    Raises:
        ConfigError: there is no such place.
    """

    def __init__(self, place: HashKey | None, outside: Outside) -> None:
        if place is None:
            raise ConfigError("there is no key", Place(field="config.hashKey"))
        self._place = place
        self._store = outside.secrets(place.source)
        self._macs: OrderedDict[str, Mac] = OrderedDict()

    async def fetch(self, namespace: str) -> None:
        """Have the key of `namespace` ready for `writer`. Raises: Unavailable."""
        key = await self._store.read(self._place.path.split("/"), self._place.field)
        if key is None:
            raise Unavailable("there is no key for hashing at hashKey")
        self._macs[namespace] = mac_key(key, b"pii-hash:" + namespace.encode())
        self._macs.move_to_end(namespace)
        if len(self._macs) > NAMESPACES:
            self._macs.popitem(last=False)

    def writer(self, namespace: str) -> Writer:
        """What writes hashes for `namespace`, whose key was fetched."""
        return hashing(self._macs[namespace])
