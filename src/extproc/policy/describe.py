"""A resolved configuration and the catalog in words, for `check`, the admin port and programs."""

from collections.abc import Mapping
from typing import Any

from extproc.core.chain import Chain
from extproc.core.link import Link
from extproc.core.phase import ORDER, Phase
from extproc.policy.resolved import Resolved


def status(resolved: Resolved) -> dict[str, Any]:
    """Chains in the order in which they run, and the findings: names and places, never a config value."""
    return {
        "gateway": resolved.gateway,
        "trafficPolicy": resolved.settings.traffic_policy,
        "authentication": resolved.settings.authentication,
        "listen": [listen.address for listen in resolved.settings.listen],
        "needs": needs(resolved),
        "chains": [
            {
                "route": str(route) if route else None,
                "backend": str(served.backend) if served else None,
                "host": served.backend.host if served else None,
                "extensions": _extensions(resolved, chain),
            }
            for route, served, chain in resolved.chains()
        ],
        "findings": [
            {"condition": one.kind, "reason": one.reason, "message": one.message, "place": str(one.place)}
            for one in resolved.findings
        ],
    }


def needs(resolved: Resolved) -> dict[str, Any]:
    """What Envoy must be configured for; `budget` is seconds, in which the server answers a message."""
    return {
        "requestBody": resolved.needs.request_body,
        "responseBody": resolved.needs.response_body,
        "maxBodyBytes": resolved.needs.max_body_bytes,
        "budget": resolved.budget,
        "upstreamClusters": upstream_clusters(resolved),
        "routingHeaders": sorted(resolved.routing_headers),
        "metadataNamespaces": [resolved.publishing.namespace] if resolved.publishing else [],
        "queryCredentials": any(getattr(one.link.filter, "sets_query", ()) for one in resolved.extensions),
    }


def upstream_clusters(resolved: Resolved) -> list[str]:
    """The clusters that must carry the upstream filter."""
    carrying = [one.backend for one in resolved.backends if str(one.backend) in resolved.upstream]
    return sorted({cluster for backend in carrying for cluster in backend.clusters})


def catalog(kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Every type with its phases and the JSON Schema of its config."""
    return {
        type_: {"phases": [phase for phase in ORDER if phase in kind.phases], "schema": schema(type_, kind)}
        for type_, kind in kinds.items()
    }


def schema(type_: str, kind: Any) -> dict[str, Any]:
    """The JSON Schema of a type's config."""
    found: dict[str, Any] = kind.Config.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": type_}


def _extensions(resolved: Resolved, chain: Chain) -> list[dict[str, Any]]:
    return [_extension(resolved, link, phase) for phase in Phase for link in chain.at(phase)]


def _extension(resolved: Resolved, link: Link, phase: Phase) -> dict[str, Any]:
    extension = resolved.extension_of(link)
    spec = extension.attachment.spec
    found = {
        "name": link.name,
        "type": spec.type,
        "phase": phase,
        "priority": link.priority,
        "scope": link.scope.name.capitalize(),
        "failOpen": spec.fail_open,
        "preAuth": link.pre_auth,
        "timeout": link.timeout,
        "by": extension.attachment.owner,
    }
    return {**found, "degraded": extension.degraded} if extension.degraded else found
