"""Write what is generated in deploy/ from the configuration in deploy/kustomize/base/config: Envoy's bootstrap, what of it the
proxies of Istio and Envoy Gateway are patched with, and the chart's copies; and from deploy/prometheus/rules.yaml the same
alerts as the Prometheus operator reads them. Run it after a change there.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from extproc.compose import configure
from extproc.envoy.bootstrap import bootstrap, text
from extproc.envoy.plan import Json
from extproc.envoy.resolved import plan_of

HERE: Final = Path(__file__).parent
CONFIG: Final = HERE / "kustomize" / "base" / "config"
OVERLAYS: Final = HERE / "kustomize" / "overlays"
MONITORING: Final = HERE / "kustomize" / "components" / "monitoring"
RULES: Final = HERE / "prometheus" / "rules.yaml"
CHART: Final = HERE / "helm" / "extproc" / "files"

NOTE: Final = "# Generated from base/config: python deploy/generate.py\n"
OF_RULES: Final = "# Generated from deploy/prometheus/rules.yaml: python deploy/generate.py\n"
MANAGER: Final = "envoy.filters.network.http_connection_manager"
LISTENER: Final = "listener.v3.Listener"
ROUTES: Final = "route.v3.RouteConfiguration"
HARDENED: Final = (
    "use_remote_address", "internal_address_config", "normalize_path", "merge_slashes", "path_with_escaped_slashes_action",
    "strip_any_host_port", "strip_trailing_host_dot", "scheme_header_transformation", "common_http_protocol_options",
    "max_request_headers_kb", "request_headers_timeout", "stream_idle_timeout",
)  # fmt: skip
"""Of the connection manager: what makes Envoy and extproc read a request alike."""

CLEANED: Final = ("request_headers_to_remove", "response_headers_to_remove")
"""Of the routes, all of them: no address and no name of ours leaves, and no word of a provider leads around the gateway."""

PATCHED: Final = ("request_attributes", "response_attributes", "mutation_rules", "processing_mode", "metadata_options")
"""Of the ext_proc filter: what an EnvoyExtensionPolicy cannot say, or not so."""


def generated() -> Iterator[tuple[Path, str]]:
    """Each file with what is to be in it."""
    config = bootstrap(plan_of(configure(CONFIG)))
    envoy = NOTE + text(config)
    istio = NOTE + text(envoy_filter(config))
    patches = NOTE + text(envoy_patch_policy(config))
    yield OVERLAYS / "sidecar" / "envoy.yaml", envoy
    yield OVERLAYS / "istio" / "envoy-filter.yaml", istio
    yield OVERLAYS / "envoy-gateway" / "envoy-patch-policy.yaml", patches
    yield CHART / "envoy.yaml", envoy
    yield CHART / "envoy-filter.yaml", istio
    yield CHART / "envoy-patch-policy.yaml", patches
    alerts = OF_RULES + text(prometheus_rule())
    yield MONITORING / "prometheus-rule.yaml", alerts
    yield CHART / "prometheus-rule.yaml", alerts
    for path in sorted(CONFIG.iterdir()):
        yield CHART / "config" / path.name, path.read_text()


def envoy_filter(config: Mapping[str, Any]) -> Json:
    """Istio's proxy: the cluster of extproc, its filter before the router, the connection manager as strict as ours, and the
    headers that are removed on every route.
    """
    listener, manager, ext_proc = _parts(config)
    cluster = next(one for one in config["static_resources"]["clusters"] if one["name"] == "ext_proc")
    strict = {name: manager[name] for name in HARDENED}
    cleaned = {name: manager["route_config"][name] for name in CLEANED}
    at_manager = {"listener": {"filterChain": {"filter": {"name": MANAGER}}}}
    router = {
        "listener": {"filterChain": {"filter": {"name": MANAGER, "subFilter": {"name": "envoy.filters.http.router"}}}}
    }
    buffers = {"per_connection_buffer_limit_bytes": listener["per_connection_buffer_limit_bytes"]}
    typed = {"name": MANAGER, "typed_config": {"@type": manager["@type"], **strict}}
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "extproc", "namespace": "egress"},
        "spec": {
            "workloadSelector": {"labels": {"egress.extproc.dev/gateway": "egress"}},
            "configPatches": [
                _patch("CLUSTER", {}, "ADD", cluster),
                _patch("LISTENER", {}, "MERGE", buffers),
                _patch("NETWORK_FILTER", at_manager, "MERGE", typed),
                _patch("HTTP_FILTER", router, "INSERT_BEFORE", ext_proc),
                _patch("ROUTE_CONFIGURATION", {}, "MERGE", cleaned),
            ],
        },
    }


def envoy_patch_policy(config: Mapping[str, Any]) -> Json:
    """Envoy Gateway's proxy: the rest of our filter, and the headers that are removed on every route. Envoy Gateway (1.9, its
    internal/xds/translator) has the filter disabled but for routes that switch it on, so it would judge no others; and gives
    the whole of a stream 10 s, where longer answers of a model would be cut off.
    """
    _, manager, ext_proc = _parts(config)
    filters = "..http_filters[?(@.name=~'^envoy.filters.http.ext_proc/')]"
    where = {"jsonPath": f"{filters}.typed_config"}
    patches = [
        _json_patch(LISTENER, op="add", jsonPath=filters, path="/disabled", value=False),
        _json_patch(LISTENER, op="replace", **where, path="/grpc_service/timeout", value="0s"),
    ]
    patches += [
        _json_patch(LISTENER, op="add", **where, path=f"/{name}", value=ext_proc["typed_config"][name])
        for name in PATCHED
    ]
    patches += [_json_patch(ROUTES, op="add", path=f"/{name}", value=manager["route_config"][name]) for name in CLEANED]
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "egress"}
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyPatchPolicy",
        "metadata": {"name": "extproc", "namespace": "egress"},
        "spec": {"type": "JSONPatch", "targetRef": target, "jsonPatches": patches},
    }


def prometheus_rule() -> Json:
    """The alerts, for the Prometheus operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "egress-gateway", "namespace": "egress"},
        "spec": yaml.safe_load(RULES.read_text(encoding="utf-8")),
    }


def _parts(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]:
    """The listener, its connection manager, and the ext_proc filter in that."""
    listener = config["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return listener, manager, manager["http_filters"][0]


def _patch(where: str, more: Json, operation: str, value: Json) -> Json:
    match = {"context": "GATEWAY", **more}
    return {"applyTo": where, "match": match, "patch": {"operation": operation, "value": value}}


def _json_patch(resource: str, **operation: object) -> Json:
    """Envoy Gateway gives a listener and its routes one name."""
    return {
        "type": f"type.googleapis.com/envoy.config.{resource}",
        "name": "egress/egress/http",
        "operation": operation,
    }


def main() -> None:
    for path, content in generated():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(HERE.parent)}\n")


if __name__ == "__main__":
    main()
