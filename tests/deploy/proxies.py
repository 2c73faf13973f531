"""The proxies' configuration, as Istio and Envoy Gateway make it of the manifests.

Envoy Gateway's own translator says it. What it said is in envoy_gateway.yaml, for where it is not there;
`python -m tests.deploy.proxies` writes that anew.
"""

import copy
import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.deploy import rendered
from tests.deploy.rendered import KUSTOMIZE, Object, overlay, parsed, run

MANAGER: Final = "envoy.filters.network.http_connection_manager"
ROUTER: Final = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
CA: Final = "/etc/ssl/certs/ca-certificates.crt"
TRANSLATED: Final = Path(__file__).with_name("envoy_gateway.yaml")
NOTE: Final = "# What Envoy Gateway makes of the overlay envoy-gateway, in one file: python -m tests.deploy.proxies\n"
Config = Mapping[str, Any]


def istios() -> dict[str, Any]:
    """With the patches of the overlay."""
    (patches,) = parsed((KUSTOMIZE / "overlays" / "istio" / "envoy-filter.yaml").read_text())
    return istio(patches["spec"]["configPatches"])


def istio(patches: list[Config]) -> dict[str, Any]:
    """A listener as Istio's gateway has it, and the patches in it, as Istio's documentation says what they do."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "outbound|443||api.openai.com"}}
    hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    manager: dict[str, Any] = {
        "@type": hcm,
        "stat_prefix": "outbound_0.0.0.0_10000",
        "use_remote_address": False,
        "route_config": {"virtual_hosts": [{"name": "openai", "domains": ["api.openai.com"], "routes": [route]}]},
        "http_filters": [ROUTER],
    }
    listener: dict[str, Any] = {
        "name": "0.0.0.0_10000",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 10000}},
        "filter_chains": [{"filters": [{"name": MANAGER, "typed_config": manager}]}],
    }
    clusters: list[Any] = [{"name": "outbound|443||api.openai.com", "connect_timeout": "5s", "type": "STATIC"}]
    for patch in copy.deepcopy(patches):
        assert patch["match"]["context"] == "GATEWAY"
        value = patch["patch"]["value"]
        match patch["applyTo"], patch["patch"]["operation"]:
            case "CLUSTER", "ADD":
                clusters.append(value)
            case "LISTENER", "MERGE":
                listener.update(value)
            case "NETWORK_FILTER", "MERGE":
                manager.update(value["typed_config"])
            case "ROUTE_CONFIGURATION", "MERGE":
                manager["route_config"].update(value)
            case "HTTP_FILTER", "INSERT_BEFORE":
                manager["http_filters"].insert(0, value)
            case other:
                raise AssertionError(f"{other} is not known here")
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def envoy_gateways() -> dict[str, Any]:
    """As it was translated when that was last done."""
    (found,) = parsed(TRANSLATED.read_text())
    return dict(found)


def manager_of(config: Config) -> dict[str, Any]:
    """The connection manager in what Envoy Gateway makes."""
    found: dict[str, Any] = config["static_resources"]["listeners"][-1]["defaultFilterChain"]["filters"][0][
        "typedConfig"
    ]
    return found


def ext_proc_of(config: Config) -> dict[str, Any]:
    """The filter in what Envoy Gateway makes."""
    found: dict[str, Any] = manager_of(config)["httpFilters"][0]["typedConfig"]
    return found


def translate(objects: Iterable[Object], to: str, folder: Path) -> str:
    """What Envoy Gateway makes of its kinds, as JSON."""
    manifests = folder / "manifests.yaml"
    manifests.write_text(yaml.safe_dump_all([dict(each) for each in objects]))
    argv = [rendered.EGCTL, "experimental", "translate", "--from", "gateway-api", "--to", to, "-o", "json"]
    return run([*argv, "--file", manifests])


def translated(objects: Iterable[Object], folder: Path) -> dict[str, Any]:
    """The proxy's configuration that Envoy Gateway makes of them."""
    return static(json.loads(translate(objects, "xds", folder))["xds"]["egress/egress"]["configs"])


def static(dumps: list[dict[str, Any]]) -> dict[str, Any]:
    """What would come to the proxy over xDS, in one file: endpoints in their clusters, routes in their listener."""
    dumped = {dump["@type"].rpartition(".")[2]: dump for dump in dumps}
    endpoints = {
        one["endpointConfig"]["clusterName"]: _untyped(one["endpointConfig"])
        for one in dumped["EndpointsConfigDump"]["dynamicEndpointConfigs"]
    }
    clusters = [_untyped(one["cluster"]) for one in dumped["ClustersConfigDump"]["dynamicActiveClusters"]]
    for cluster in clusters:
        if cluster.pop("edsClusterConfig", None):
            cluster |= {"type": "STATIC", "loadAssignment": endpoints[cluster["name"]]}
        for match in cluster.get("transportSocketMatches", []):
            common = match["transportSocket"]["typedConfig"]["commonTlsContext"]
            combined = common.pop("combinedValidationContext")
            common["validationContext"] = {**combined["defaultValidationContext"], "trustedCa": {"filename": CA}}
    listeners = [_untyped(one["activeState"]["listener"]) for one in dumped["ListenersConfigDump"]["dynamicListeners"]]
    (routes,) = (_untyped(one["routeConfig"]) for one in dumped["RoutesConfigDump"]["dynamicRouteConfigs"])
    manager = listeners[-1]["defaultFilterChain"]["filters"][0]["typedConfig"]
    assert manager.pop("rds")["routeConfigName"] == routes["name"]
    manager["routeConfig"] = routes
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


def _untyped(message: Config) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != "@type"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = translated(overlay("envoy-gateway"), Path(folder))
    TRANSLATED.write_text(NOTE + yaml.safe_dump(config, sort_keys=False, width=120))


if __name__ == "__main__":
    main()
