"""Who calls, which way, and where to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """The authenticated caller. Written once, by the authenticator; `namespace` and `service_account` are empty for a
    user that is no ServiceAccount.
    """

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    namespace: str = ""
    service_account: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """The HTTPRoute that decided, if one did."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Backend:
    """An external destination. `clusters` are the names that Envoy may use for it."""

    namespace: str
    name: str
    host: str
    port: int
    clusters: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
