"""Each proxy's configuration, as `envoy --mode validate` judges it: the generated bootstrap; and what Istio and Envoy Gateway
make of the manifests.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from extproc.envoy.binary import find_envoy
from tests.deploy import rendered
from tests.deploy.proxies import Config, envoy_gateways, ext_proc_of, istios, manager_of, translate, translated
from tests.deploy.rendered import CONFIG, KUSTOMIZE, name, only, overlay, parsed, run

needs_kustomize = pytest.mark.skipif(bool(rendered.NO_KUSTOMIZE), reason=rendered.NO_KUSTOMIZE)
needs_egctl = pytest.mark.skipif(bool(rendered.NO_EGCTL), reason=rendered.NO_EGCTL)


def validate(config: Config, folder: Path) -> None:
    path = folder / "envoy.json"
    path.write_text(json.dumps(config))
    run([find_envoy(os.environ), "--mode", "validate", "--config-path", path])


def backend() -> Config:
    (document,) = parsed((CONFIG / "backends.yaml").read_text())
    return document


@needs_kustomize
def test_the_sidecars_bootstrap(tmp_path: Path) -> None:
    (found,) = (each for each in overlay("sidecar") if name(each).startswith("ConfigMap envoy-"))
    validate(yaml.safe_load(found["data"]["envoy.yaml"]), tmp_path)


def test_istios_proxy(tmp_path: Path) -> None:
    config = istios()
    validate(config, tmp_path)
    listener, clusters = config["static_resources"]["listeners"][0], config["static_resources"]["clusters"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert [one["name"].rpartition(".")[2] for one in manager["http_filters"]] == ["ext_proc", "router"]
    assert clusters[0]["name"] in backend()["spec"]["clusters"]
    assert manager["use_remote_address"] is True


@needs_kustomize
@needs_egctl
def test_envoy_gateway_accepts_every_object(tmp_path: Path) -> None:
    """By its own translator: every object is accepted, every patch finds its place."""
    told = json.loads(translate(overlay("envoy-gateway"), "gateway-api", tmp_path))
    assert set(conditions(told)) == {("Accepted", "True"), ("Programmed", "True"), ("ResolvedRefs", "True")}


@needs_kustomize
@needs_egctl
def test_envoy_gateway_still_makes_the_same_of_them(tmp_path: Path) -> None:
    assert translated(overlay("envoy-gateway"), tmp_path) == envoy_gateways(), "run python -m tests.deploy.proxies"


@needs_kustomize
@needs_egctl
def test_what_envoy_gateway_does_without_the_patches(tmp_path: Path) -> None:
    """As docs/deployment-envoy-gateway.md says."""
    unpatched = [each for each in overlay("envoy-gateway") if each["kind"] != "EnvoyPatchPolicy"]
    ext_proc = ext_proc_of(translated(unpatched, tmp_path))
    assert ext_proc["requestAttributes"] == ["xds.route_name", "source.address"]
    assert ext_proc["grpcService"]["timeout"] == "10s"
    assert ext_proc["processingMode"]["requestTrailerMode"] == "SKIP"
    assert "mutationRules" not in ext_proc


@needs_kustomize
@needs_egctl
def test_a_policy_on_another_route_of_envoy_gateway_leads_around_nothing(tmp_path: Path) -> None:
    """It takes the place of the Gateway's there, and the filter is one that routes switch on: unless it is on for all."""
    route = only(overlay("envoy-gateway"), "HTTPRoute")
    other = {**route, "metadata": {**route["metadata"], "name": "other"}}
    other["spec"] = {**route["spec"], "hostnames": ["api.other.example"]}
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "other"}
    lua = {"type": "Inline", "inline": "function envoy_on_request(handle) end"}
    instead = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyExtensionPolicy",
        "metadata": {"name": "other", "namespace": "egress"},
        "spec": {"targetRefs": [target], "lua": [lua]},
    }
    manager = manager_of(translated([*overlay("envoy-gateway"), other, instead], tmp_path))
    (ext_proc,) = (one for one in manager["httpFilters"] if one["name"].startswith("envoy.filters.http.ext_proc/"))
    (host,) = (one for one in manager["routeConfig"]["virtualHosts"] if one["domains"] == ["api.other.example"])
    assert ext_proc["name"] not in host["routes"][0]["typedPerFilterConfig"], "it is overridden"
    assert not ext_proc.get("disabled", False)


def test_envoy_gateways_proxy(tmp_path: Path) -> None:
    config = envoy_gateways()
    validate(config, tmp_path)
    assert {one["name"] for one in config["static_resources"]["clusters"]} & set(backend()["spec"]["clusters"])
    ext_proc, ours = ext_proc_of(config), generated_filter()
    assert ext_proc["grpcService"]["timeout"] == "0s"
    assert not ext_proc.get("failureModeAllow", False)
    for own, theirs in (
        ("request_attributes", "requestAttributes"),
        ("response_attributes", "responseAttributes"),
        ("message_timeout", "messageTimeout"),
        ("allow_mode_override", "allowModeOverride"),
        ("status_on_error", "statusOnError"),
    ):
        assert ext_proc[theirs] == ours[own], theirs
    assert '"schemeHeaderTransformation": {"matchUpstream": true}' in json.dumps(config)


def test_envoy_gateway_waits_no_longer_than_the_sidecar_does() -> None:
    """For the headers of a request, and in silence: a route without a time limit waits there for ever unless it says so."""
    manager, ours = manager_of(envoy_gateways()), generated_manager()
    assert manager["requestHeadersTimeout"] == ours["request_headers_timeout"]
    routes = [route for host in manager["routeConfig"]["virtualHosts"] for route in host["routes"]]
    assert {(route["route"]["timeout"], route["route"]["idleTimeout"]) for route in routes} == {
        ("0s", ours["stream_idle_timeout"])
    }
    assert manager["stripTrailingHostDot"] == ours["strip_trailing_host_dot"]


def generated_manager() -> Config:
    """The connection manager of the sidecar."""
    config = yaml.safe_load((KUSTOMIZE / "overlays" / "sidecar" / "envoy.yaml").read_text())
    found: Config = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def generated_filter() -> Config:
    """The ext_proc filter of the sidecar."""
    found: Config = generated_manager()["http_filters"][0]["typed_config"]
    return found


def test_no_address_of_ours_leaves_and_no_provider_steers() -> None:
    """On every route, a provider's that is added later too: the same headers go as with the sidecar."""
    ours = generated_manager()["route_config"]
    theirs = manager_of(envoy_gateways())["routeConfig"]
    istio = istios()["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"][
        "route_config"
    ]
    for way in ("request", "response"):
        assert ours[f"{way}_headers_to_remove"] == istio[f"{way}_headers_to_remove"] == theirs[f"{way}HeadersToRemove"]


def conditions(told: object) -> Iterator[tuple[str, str]]:
    """Type and status of every condition in there."""
    if isinstance(told, list):
        for each in told:
            yield from conditions(each)
    elif isinstance(told, dict):
        for key, value in told.items():
            if key == "conditions":
                yield from ((one["type"], one["status"]) for one in value)
            else:
                yield from conditions(value)
