"""The command: what it prints, how it ends, and that nothing that answers can make it fall over."""

import copy
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.compose import configure
from extproc.doctor.dump import read
from extproc.doctor.examine import of_envoy
from extproc.doctor.finding import Code, Finding
from extproc.doctor.needs import needs_of
from extproc.doctor.server import of_metrics, of_readiness, of_status
from extproc.doctor.tree import number
from extproc.envoy.bootstrap import bootstrap
from extproc.envoy.resolved import plan_of
from tests.cli.conftest import QUICKSTART, Ran

BOOTSTRAP: Any = bootstrap(plan_of(configure(QUICKSTART / "extproc.yaml")))
NAME = "envoy.filters.http.ext_proc"


def test_nobody_there_is_a_finding_each(extproc: Callable[..., Ran], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = f"127.0.0.1:{server.getsockname()[1]}"
    ran = extproc("doctor", "--admin", free, "--envoy-admin", f"unix://{tmp_path}/none.sock")
    assert ran.code == 1
    [server_line, envoy_line] = ran.out.splitlines()
    assert server_line.startswith(f"server's admin port {free}: it cannot be reached (Connection refused); start")
    assert server_line.endswith("[error server.silent]")
    assert envoy_line.startswith(f"Envoy's admin port unix://{tmp_path}/none.sock: it cannot be reached (No such file")


def test_one_that_says_nothing_is_not_waited_for(
    extproc: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extproc.doctor.ask.PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"127.0.0.1:{server.getsockname()[1]}"
        ran = extproc("doctor", "--admin", silent, "--envoy-admin", silent, "--json")
    assert ran.code == 1
    found = json.loads(ran.out)["findings"]
    assert [each["problem"] for each in found] == ["it did not answer within 0.05 s"] * 2
    assert [each["code"] for each in found] == ["server.silent", "envoy.silent"]
    assert found[0].keys() == {"code", "severity", "where", "problem", "remedy"}


@pytest.mark.parametrize("option", ["--admin", "--envoy-admin"])
@pytest.mark.parametrize("address", ["nonsense", "unix://@abstract", "http://127.0.0.1:9090", "127.0.0.1:99999", ""])
def test_what_is_no_address_is_refused(extproc: Callable[..., Ran], option: str, address: str) -> None:
    ran = extproc("doctor", option, address)
    assert ran.code == 2
    assert ran.err.startswith(f"error: {option}: ")


def test_what_somebody_else_wrote_stays_one_line() -> None:
    finding = Finding(Code.SERVER_DEGRADED, "a\nb", "\x1b[2Jred\u202e", "x" * 1000).clipped()
    assert str(finding).startswith("a?b: ?[2Jred?; xxx")
    assert str(finding).isprintable()
    assert len(str(finding)) < 500


# whatever answers

NAMES = (
    "configs", "bootstrap", "node", "user_agent_build_version", "version", "major_number", "layered_runtime", "layers",
    "static_layer", "static_listeners", "dynamic_listeners", "listener", "active_state", "error_state", "details",
    "filter_chains", "filters", "typed_config", "@type", "http_filters", "config_discovery", "default_filter_chain",
    "filter_chain", "rds", "route_config", "route_config_name", "virtual_hosts", "domains", "matcher", "routes", "route",
    "timeout", "weighted_clusters", "typed_per_filter_config", NAME, "overrides", "processing_mode", "grpc_service",
    "metadata_options", "name", "disabled", "static_clusters", "static_secrets", "secret", "cluster", "clusters",
    "circuit_breakers", "thresholds", "max_requests", "transport_socket", "common_tls_context",
    "combined_validation_context", "mutation_rules", "disallow_expression", "regex", "forward_rules",
    "disallowed_headers", "patterns", "prefix", "cluster_statuses", "host_statuses", "address", "socket_address",
    "health_status", "stats", "value", "workers", "needs", "listen", "chains", "maxBodyBytes", "budget", "dependencies",
    "redis", "problem", "configuration", "hash", "findings", "condition", "upgrade_configs", "message_timeout",
    "upstreamClusters",
)  # fmt: skip
WORDS = (
    "HttpConnectionManager",
    "a.ExternalProcessor",
    "a.FilterChainConfig",
    "a.FilterConfig",
    "a.UpstreamTlsContext",
    "a.ClusterConfig",
    "ext_proc",
    "((((a*)*)*)*)*$",
    "inf",
    "nan",
    "1e999s",
    "1s",
    "unix:///",
    "unix:///tmp/[",
    "\x1b[2J\n",
    "\ud800",
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=30,
)


class Gateway:
    """The generated configuration, to be spoilt anywhere."""

    def __init__(self) -> None:
        resources = copy.deepcopy(BOOTSTRAP["static_resources"])
        self.listener, self.clusters = resources["listeners"][0], resources["clusters"]
        self.manager = self.listener["filter_chains"][0]["filters"][0]["typed_config"]
        self.filter = self.manager["http_filters"][0]["typed_config"]
        self.host = self.manager["route_config"]["virtual_hosts"][0]
        self.places = [
            self.listener,
            self.manager,
            self.manager["http_filters"][0],
            self.filter,
            self.filter["processing_mode"],
        ]
        self.places += [self.filter["mutation_rules"], self.manager["route_config"], self.host, self.host["routes"][0]]
        self.places += [self.host["routes"][0]["route"], *self.clusters]

    @property
    def dump(self) -> dict[str, Any]:
        clusters = [{"cluster": each} for each in self.clusters]
        return {"configs": [{"static_clusters": clusters}, {"static_listeners": [{"listener": self.listener}]}]}


@settings(max_examples=150, deadline=None)
@given(told=st.dictionaries(st.sampled_from(NAMES), JUNK), part=JUNK, place=st.integers(0, 11), text=st.text())
def test_nothing_that_answers_can_make_it_fall_over(told: dict[str, Any], part: Any, place: int, text: str) -> None:
    """Whatever is put for a part of the configuration, or says it is the server."""
    needs = needs_of(told)
    found = [*of_status(told), *of_readiness([text], told), *of_metrics(text)]
    gateway = Gateway()
    if isinstance(part, dict):
        gateway.places[place % len(gateway.places)].update(part)
    for dump in (told, {"configs": [told]}, {"configs": part}, gateway.dump):
        for statuses in (told, {}):
            found += of_envoy("Envoy", read(dump, statuses), told, needs)
    assert all(str(each).isprintable() for each in found)


@pytest.mark.parametrize("junk", [{}, {"configs": None}, {"configs": [1, {"static_listeners": [{"listener": []}]}]}])
def test_what_is_no_dump_has_no_listener_and_is_no_crash(junk: dict[str, Any]) -> None:
    assert [each.code for each in of_envoy("Envoy", read(junk, {}), {}, None)] == [Code.ENVOY_NO_LISTENER]


def test_what_is_very_deep_is_read_all_the_same() -> None:
    gateway, deep = Gateway(), "%REQ(AUTHORIZATION)%"
    for _ in range(1000):
        deep = [deep]
    gateway.manager["access_log"] = gateway.manager["local_reply_config"] = deep
    found = of_envoy("Envoy", read(gateway.dump, {}), {}, None)
    assert [each.code for each in found if each.code is not Code.CLUSTER_EMPTY] == [Code.MANAGER_LOG]


@pytest.mark.parametrize("told", [None, True, "12", [], {}, "s", "", "nan", "inf"])
def test_a_number_is_a_number_or_what_is_said_for_none(told: object) -> None:
    assert number({"x": told}, "x", default=7) == {"12": 12, True: 1}.get(
        told if isinstance(told, str | bool) else "", 7
    )
