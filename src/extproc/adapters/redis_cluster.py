"""Which Redis server to ask. One alone, or the nodes of a cluster, which are learned from their MOVED replies.

Redis cluster specification, "MOVED Redirection" and "ASK Redirection".
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, UnixDomainSocketConnection, parse_url
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, ResponseError

from extproc.adapters.breaker import Breaker, State
from extproc.adapters.redis_errors import Unread, sentence
from extproc.adapters.redis_node import Node
from extproc.adapters.redis_script import SCRIPT, Answer, pack
from extproc.errors import ConfigError, Place, Unavailable

MOST_ATTEMPTS: Final = 6
"""Of one call: to load the script, and to follow a cluster that is being changed."""

MOST_NODES: Final = 64

LOAD: Final = pack(("SCRIPT", "LOAD", SCRIPT))
ASKING: Final = pack(("ASKING",))
STATES: Final = (State.CLOSED, State.HALF_OPEN, State.OPEN)

WANTED: Final = "wanted is redis://HOST:PORT/DATABASE, rediss:// (TLS) or unix://PATH"


class Servers:
    """All servers behind one address. A node that fails is forgotten: any other one knows who has taken its place."""

    def __init__(
        self, url: str, password: Callable[[], str] | None, breaker: Callable[[], Breaker], connections: int
    ) -> None:
        """Raises: ConfigError."""
        self._options = options(url)
        self._password = password
        self._breaker = breaker
        self._connections = connections
        self._nodes: dict[str, Node] = {}
        self._slots: dict[int, Node] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._home = self._node(self._options)

    @property
    def address(self) -> str:
        return self._home.address

    @property
    def state(self) -> State:
        """The worst of those in use."""
        return max((node.breaker.state for node in {self._home, *self._slots.values()}), key=STATES.index)

    async def call(self, key: bytes, data: bytes, deadline: float, *, anyway: bool = False) -> Answer:
        """What the script answers whose EVALSHA is `data`. `key` is one of its keys, `deadline` is loop time; `anyway` asks
        even if a breaker is open.

        Raises: Unavailable.
        """
        node = self._slots.get(key_slot(key), self._home) if self._slots else self._home
        before: tuple[bytes, ...] = ()
        for _ in range(MOST_ATTEMPTS):
            try:
                reply = await node.ask(b"".join((*before, data)), len(before) + 1, deadline, anyway=anyway)
            except Unavailable:
                self._forget(node)
                raise
            if isinstance(reply, list):
                return reply
            if not isinstance(reply, ResponseError):
                raise node.trouble("no answer that a script gives")
            node, before = self._elsewhere(node, before, reply)
        raise node.trouble(f"{MOST_ATTEMPTS} attempts of one call, and each is sent elsewhere")

    async def close(self) -> None:
        await asyncio.gather(*self._closing, *(node.close() for node in self._nodes.values()))

    def _elsewhere(self, node: Node, before: tuple[bytes, ...], reply: ResponseError) -> tuple[Node, tuple[bytes, ...]]:
        """Whom to ask instead, and what to write before; ASKING is about the very next command. Raises: Unavailable."""
        match reply:
            case NoScriptError():
                return node, (LOAD, *before)
            case MovedError():
                self._slots[reply.slot_id] = self._named(node, reply)
                return self._slots[reply.slot_id], ()
            case AskError():
                return self._named(node, reply), (ASKING,)
            case _:
                raise node.trouble(sentence(reply))

    def _named(self, node: Node, reply: AskError) -> Node:
        """The node that `reply` of `node` names; without a host it is that of `node`."""
        host = reply.host or node.address.rpartition(":")[0]
        return self._node({**self._options, "host": host.strip("[]"), "port": reply.port})

    def _forget(self, node: Node) -> None:
        """Of one server alone there is nothing to forget."""
        if not self._slots:
            return
        self._slots = {slot: each for slot, each in self._slots.items() if each is not node}
        if node is self._home:
            others = [each for each in self._nodes.values() if each is not node]
            self._home = others[0] if others else node
            self._nodes[node.address] = self._nodes.pop(node.address)  # the last to be asked again

    def _node(self, wanted: Mapping[str, Any]) -> Node:
        address = wanted.get("path") or f"{wanted.get('host', 'localhost')}:{wanted.get('port', 6379)}"
        if address not in self._nodes:
            if len(self._nodes) >= MOST_NODES:
                self._retire()
            self._nodes[address] = Node(address, lambda: self._connection(wanted), self._breaker(), self._connections)
        return self._nodes[address]

    def _retire(self) -> None:
        """Part from nodes that serve no slot. Raises: Unavailable, if all do."""
        used = {self._home, *self._slots.values()}
        idle = [address for address, node in self._nodes.items() if node not in used]
        if not idle:
            raise self._home.trouble(f"its cluster has more than {MOST_NODES} masters")
        for address in idle:
            task = asyncio.get_running_loop().create_task(self._nodes.pop(address).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _connection(self, wanted: Mapping[str, Any]) -> AbstractConnection:
        if self._password is None:
            return connection(wanted)
        try:
            password = self._password()
            password.encode()
        except (OSError, ValueError):
            raise Unread from None
        return connection({**wanted, "password": password})


def options(url: str) -> Mapping[str, Any]:
    """What a connection to `url` wants. The text of an error never holds the URL: it may hold a password.

    Raises: ConfigError.
    """
    try:
        found = dict(parse_url(url))
        parts = urlsplit(url)
        if parts.scheme != "unix":
            int(parts.path.strip("/") or 0)  # the library passes over a database that is no number
        connection(found)
    except (ValueError, TypeError, RedisError):
        raise ConfigError(f"the URL of Redis is not understood; {WANTED}", Place(field="url")) from None
    if found.get("connection_class") is UnixDomainSocketConnection and not found.get("path"):
        raise ConfigError(f"the URL of Redis names no socket; {WANTED}", Place(field="url"))
    return found


def connection(wanted: Mapping[str, Any]) -> AbstractConnection:
    """One that is not connected yet, and does nothing by itself: no retries, no timeouts, no commands but those to log in."""
    kind: type[AbstractConnection] = wanted.get("connection_class", Connection)
    chosen = {name: value for name, value in wanted.items() if name != "connection_class"}
    quiet: dict[str, Any] = {"socket_timeout": None, "socket_connect_timeout": None, "driver_info": None, "protocol": 2}
    return kind(**{**chosen, **quiet})
