"""Does each cluster that needs the upstream filter carry it, and as the server expects it?"""

from collections.abc import Iterator
from typing import Final

from extproc.core import upstream
from extproc.doctor.dump import Dump
from extproc.doctor.finding import Code, Finding
from extproc.doctor.needs import Needs
from extproc.doctor.processor import of_any, of_headers
from extproc.doctor.recognize import UNTYPED, Mine
from extproc.doctor.roads import Manager
from extproc.doctor.tree import Json, kind, node, nodes, word, words
from extproc.envoy.clusters import HTTP_OPTIONS
from extproc.envoy.processor import INTERNAL, UPSTREAM_ATTRIBUTES

REMEDY: Final = "`extproc envoy` prints clusters with it"


def of_upstream(dump: Dump, found: list[Manager], mine: Mine, needs: Needs | None) -> Iterator[Finding]:
    """The clusters that `needs` lists, as far as this Envoy has them."""
    if needs is None or not needs.upstream_clusters:
        return
    for one in (own for manager in found for own in manager.processors if mine(own.config)):
        if INTERNAL not in words(one.config, *UNTYPED):
            problem = (
                f"what the upstream pass needs to know is not accepted, and it denies everything without {INTERNAL}"
            )
            remedy = f"add {INTERNAL} to metadata_options.receiving_namespaces.untyped"
            yield Finding(Code.UPSTREAM_METADATA, one.place, problem, remedy)
    everywhere = [one for manager in found for one in _of_routers(manager, dump)]
    for name in needs.upstream_clusters:
        cluster = dump.clusters.get(name, {})
        options = node(cluster, "typed_extension_protocol_options", HTTP_OPTIONS)
        own = _processors(nodes(options, "http_filters"), dump)
        if cluster and not (own or everywhere):
            problem = "it has no upstream filter: no try gets its credential, and each keeps what another one set"
            yield Finding(Code.UPSTREAM_MISSING, f"cluster {name}", problem, REMEDY)
        for each in own:
            yield from _of_filter(f"cluster {name}, filter {word(each, 'name')}", node(each, "typed_config"), needs)
    for each in everywhere:
        yield from _of_filter(f"upstream filter {word(each, 'name')} of the router", node(each, "typed_config"), needs)


def _of_routers(manager: Manager, dump: Dump) -> list[Json]:
    return [each for one in manager.filters for each in _processors(nodes(one.config, "upstream_http_filters"), dump)]


def _processors(listed: list[Json], dump: Dump) -> list[Json]:
    return [one for one in dump.filters(listed) if kind(node(one, "typed_config")) == "ExternalProcessor"]


def _of_filter(where: str, config: Json, needs: Needs) -> Iterator[Finding]:
    yield from of_any(where, config, needs, UPSTREAM_ATTRIBUTES)
    said = {word(one, "key"): word(one, "value") for one in nodes(config, "grpc_service", "initial_metadata")}
    if said.get(upstream.PASS) != upstream.UPSTREAM or not said.get(upstream.BACKEND):
        problem = "the server is not told that this is the upstream pass, and of which Backend"
        remedy = f"set {upstream.PASS} ({upstream.UPSTREAM}) and {upstream.BACKEND} in grpc_service.initial_metadata"
        yield Finding(Code.UPSTREAM_CLAIM, where, problem, remedy)
    if INTERNAL not in words(config, "metadata_options", "forwarding_namespaces", "untyped"):
        problem = "the token of the downstream pass is not forwarded, and every try is denied"
        remedy = f"add {INTERNAL} to metadata_options.forwarding_namespaces.untyped"
        yield Finding(Code.UPSTREAM_METADATA, where, problem, remedy)
    modes = node(config, "processing_mode")
    yield from of_headers(where, modes)
    for name in ("request_body_mode", "response_body_mode"):
        if word(modes, name) not in ("", "NONE"):
            problem = f"{name} is {word(modes, name)}, which this server refuses here"
            yield Finding(Code.UPSTREAM_BODY, where, problem, "set it to NONE")
