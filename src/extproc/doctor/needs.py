"""What the server says that Envoy must be configured for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from extproc.doctor.tree import Json, node, nodes, number, word, words

INJECTOR: Final = "CredentialInjector:"


@dataclass(frozen=True, slots=True)
class Needs:
    """`budget` is seconds; `listen` are the server's addresses; `upstream_clusters` must carry the upstream filter; `hosts` are
    those that a policy covers under a Backend's own name; `namespaces` are of metadata for others; `injects` says whether
    credentials are set at all, `injects_query` whether one is set as a query parameter.
    """

    request_body: bool
    response_body: bool
    max_body_bytes: int
    budget: float
    listen: tuple[str, ...]
    upstream_clusters: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    injects: bool = False
    injects_query: bool = False

    @property
    def any_body(self) -> bool:
        return self.request_body or self.response_body


def needs_of(status: Json) -> Needs | None:
    """What Envoy must be configured for; None if nobody says so."""
    told = next((found for found in workers(status).values() if found is not None), {})
    needs = node(told, "needs")
    if not needs:
        return None
    return Needs(
        request_body=needs.get("requestBody") is True,
        response_body=needs.get("responseBody") is True,
        max_body_bytes=int(number(needs, "maxBodyBytes")),
        budget=number(needs, "budget"),
        listen=tuple(words(told, "listen")),
        upstream_clusters=tuple(words(needs, "upstreamClusters")),
        hosts=tuple(_hosts(told)),
        namespaces=tuple(words(needs, "metadataNamespaces")),
        injects=any(
            word(one, "type").startswith(INJECTOR)
            for chain in nodes(told, "chains")
            for one in nodes(chain, "extensions")
        ),
        injects_query=needs.get("queryCredentials") is True,
    )


def workers(status: Json) -> Mapping[str, Json | None]:
    """The status of each worker by how it is called, None of one that does not answer. A single process is called so."""
    if "workers" not in status:
        return {"the server": status}
    return {
        f"worker {name}": told if isinstance(told, dict) else None for name, told in node(status, "workers").items()
    }


def _hosts(told: Json) -> list[str]:
    """Of Backends that no HTTPRoute names: an HTTPRoute's hostnames, which may be others, are not in the status."""
    chains = nodes(told, "chains")
    routed = {word(one, "backend") for one in chains if word(one, "route")}
    return sorted({word(one, "host") for one in chains if word(one, "backend") not in routed} - {""})
