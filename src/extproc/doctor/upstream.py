"""Does each cluster that needs the upstream filter carry it, and as the server expects it?"""

from collections.abc import Iterator
from typing import Final

from extproc.core import upstream
from extproc.doctor.finding import Finding, Needs
from extproc.doctor.gateway import UNTYPED, Manager, cluster_named, processors
from extproc.doctor.processor import of_any, of_headers
from extproc.doctor.tree import Json, node, nodes, word, words
from extproc.envoy.clusters import HTTP_OPTIONS
from extproc.envoy.processor import INTERNAL, UPSTREAM_ATTRIBUTES

REMEDY: Final = "`extproc envoy` prints clusters with it"


def of_upstream(dump: Json, found: list[Manager], filters: list[Json], needs: Needs | None) -> Iterator[Finding]:
    """The clusters that `needs` lists, as far as this Envoy has them; `filters` are the downstream filters."""
    if needs is None or not needs.upstream_clusters:
        return
    for one in filters:
        if INTERNAL not in words(one, "typed_config", *UNTYPED):
            problem = (
                f"what the upstream pass needs to know is not accepted, and it denies everything without {INTERNAL}"
            )
            remedy = f"add {INTERNAL} to metadata_options.receiving_namespaces.untyped"
            yield Finding(f"filter {word(one, 'name')}", problem, remedy)
    everywhere = [one for manager in found for one in _of_routers(manager)]
    for name in needs.upstream_clusters:
        cluster = cluster_named(dump, name)
        own = processors(nodes(cluster, "typed_extension_protocol_options", HTTP_OPTIONS, "http_filters"))
        if cluster and not (own or everywhere):
            problem = "it has no upstream filter: no try gets its credential, and each keeps what another one set"
            yield Finding(f"cluster {name}", problem, REMEDY)
        for one in own:
            yield from _of_filter(f"cluster {name}, filter {word(one, 'name')}", node(one, "typed_config"), needs)
    for one in everywhere:
        yield from _of_filter(f"upstream filter {word(one, 'name')} of the router", node(one, "typed_config"), needs)


def _of_routers(manager: Manager) -> list[Json]:
    return [each for one in manager.filters for each in processors(nodes(one, "typed_config", "upstream_http_filters"))]


def _of_filter(where: str, config: Json, needs: Needs) -> Iterator[Finding]:
    yield from of_any(where, config, needs, UPSTREAM_ATTRIBUTES)
    said = {word(one, "key"): word(one, "value") for one in nodes(config, "grpc_service", "initial_metadata")}
    if said.get(upstream.PASS) != upstream.UPSTREAM or not said.get(upstream.BACKEND):
        problem = "the server is not told that this is the upstream pass, and of which Backend"
        remedy = f"set {upstream.PASS} ({upstream.UPSTREAM}) and {upstream.BACKEND} in grpc_service.initial_metadata"
        yield Finding(where, problem, remedy)
    if INTERNAL not in words(config, "metadata_options", "forwarding_namespaces", "untyped"):
        problem = "the token of the downstream pass is not forwarded, and every try is denied"
        yield Finding(where, problem, f"add {INTERNAL} to metadata_options.forwarding_namespaces.untyped")
    modes = node(config, "processing_mode")
    yield from of_headers(where, modes)
    for name in ("request_body_mode", "response_body_mode"):
        if word(modes, name) not in ("", "NONE"):
            yield Finding(where, f"{name} is {word(modes, name)}, which this server refuses here", "set it to NONE")
