"""The doctor's judgement: what two admin ports could say, and the sentence that follows. The network is in `e2e`."""

import copy
import json
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.compose import configure
from extproc.doctor.examine import of_manager
from extproc.doctor.finding import Finding, Needs
from extproc.doctor.gateway import cluster_named, cluster_of, managers, ours
from extproc.doctor.server import needs_of, of_metrics, of_readiness, of_status
from extproc.doctor.traffic import of_cluster, of_stats, values
from extproc.doctor.upstream import of_upstream
from extproc.envoy.bootstrap import bootstrap
from extproc.envoy.clusters import HTTP_OPTIONS
from extproc.envoy.resolved import plan_of
from extproc.policy.describe import status
from tests.cli.conftest import QUICKSTART, Ran

RESOLVED = configure(QUICKSTART / "extproc.yaml")
PLAN = replace(plan_of(RESOLVED), response_body=False)  # one body of two is read, whatever the quickstart does
BOOTSTRAP: Any = bootstrap(PLAN)
STATUS: Any = {"ready": True, "dependencies": {}, **status(RESOLVED)}
STATUS["needs"]["responseBody"] = False
NEEDS = needs_of(STATUS)
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
NAME = "envoy.filters.http.ext_proc"

Change = Callable[[Any], object]


class Gateway:
    """The generated configuration, to be spoilt: its parts by name."""

    def __init__(self, config: Any = BOOTSTRAP) -> None:
        resources = copy.deepcopy(config["static_resources"])
        self.listener = resources["listeners"][0]
        self.clusters = resources["clusters"]
        self.manager = self.listener["filter_chains"][0]["filters"][0]["typed_config"]
        self.filters = self.manager["http_filters"]
        self.filter = self.filters[0]["typed_config"]
        self.modes = self.filter["processing_mode"]
        self.table = self.manager["route_config"]
        self.host = self.table["virtual_hosts"][0]
        self.route = self.host["routes"][0]
        self.cluster = self.clusters[0]

    @property
    def dump(self) -> dict[str, Any]:
        """As `/config_dump` has it: Envoy leaves out what has its default."""
        dumped = {
            "configs": [
                {"static_clusters": [{"cluster": each} for each in self.clusters]},
                {"static_listeners": [{"listener": self.listener}]},
            ]
        }
        return json.loads(json.dumps(dumped))


def judged(gateway: Gateway, needs: Needs | None = NEEDS) -> list[str]:
    dump = gateway.dump
    found: list[Finding] = []
    for manager in managers(dump):
        found += of_manager(manager, ours(manager.filters, dump, needs), needs)
    return [str(each) for each in found]


def test_the_generated_configuration_is_right() -> None:
    assert Needs(True, False, 1048576, 0.8, ("unix:///tmp/extproc-quickstart/extproc.sock",)) == NEEDS
    assert judged(Gateway()) == []
    assert judged(Gateway(), None) == []


def per_route(**fields: object) -> dict[str, Any]:
    return {"typed_per_filter_config": {NAME: {"@type": PER_ROUTE, **fields}}}


SPOILT: list[tuple[Change, str]] = [
    (lambda g: g.filters.pop(0), "listener egress: the ext_proc filter is not in its chain"),
    (lambda g: g.filters[0].update(disabled=True), "it is disabled: requests pass unjudged"),
    (lambda g: g.filter.update(failure_mode_allow=True), "failure_mode_allow is true: .* set it to false"),
    (lambda g: g.filter.pop("status_on_error"), "status_on_error is not 503"),
    (lambda g: g.filter.update(status_on_error={"code": "OK"}), "status_on_error is not 503"),
    (lambda g: g.filter.update(observability_mode=True), "observability_mode is true"),
    (lambda g: g.filter.update(disable_immediate_response=True), "no denial reaches the client"),
    (lambda g: g.filter.update(send_body_without_waiting_for_header_response=True), "cannot choose the body modes"),
    (lambda g: g.filter.pop("allow_mode_override"), "allow_mode_override is not true"),
    (lambda g: g.filter.update(allowed_override_modes=[{}]), "allowed_override_modes"),
    (lambda g: g.filter.update(forward_rules={"allowed_headers": {}}), "forward_rules hides headers"),
    (lambda g: g.filter.pop("metadata_options"), "add extproc to metadata_options.receiving_namespaces.untyped"),
    (lambda g: g.filter["request_attributes"].remove("xds.cluster_name"), "is not told xds.cluster_name"),
    (lambda g: g.filter.pop("message_timeout"), "message_timeout is 0.2 s, .* budget of 0.8 s"),
    (lambda g: g.filter.update(message_timeout="0.800s"), "message_timeout is 0.8 s"),
    (lambda g: g.modes.pop("request_body_mode"), "request_body_mode is NONE, and an extension reads that body"),
    (lambda g: g.modes.update(request_body_mode="BUFFERED_PARTIAL"), "BUFFERED_PARTIAL, .*refuses; set it to BUFFERED"),
    (lambda g: g.modes.update(response_body_mode="STREAMED"), "STREAMED, which this server refuses; set it to NONE"),
    (lambda g: g.modes.update(request_header_mode="SKIP"), "request_header_mode is SKIP: nothing is judged"),
    (lambda g: g.modes.update(response_header_mode="SKIP"), "response_header_mode is SKIP"),
    (lambda g: g.modes.pop("request_trailer_mode"), "trailers reach the destination as the caller sent them"),
    (lambda g: g.listener.pop("per_connection_buffer_limit_bytes"), "is 1048576, .* set it to 2162688 or more"),
    (lambda g: g.route.update(per_route(disabled=True)), "host-0, route Backend/egress/stub: .* disabled here"),
    (lambda g: g.host.update(per_route(disabled=True)), "virtual host host-0: the ext_proc filter is disabled here"),
    (lambda g: g.table.update(per_route(disabled=True)), "route table egress: the ext_proc filter is disabled here"),
    (lambda g: g.route.update(per_route(overrides={"failure_mode_allow": True})), "failure_mode_allow is true here"),
    (lambda g: g.route.update(per_route(overrides={"grpc_service": {}})), "another server is asked here"),
    (
        lambda g: g.route.update(per_route(overrides={"processing_mode": {"request_trailer_mode": "SEND"}})),
        "route Backend/egress/stub: request_body_mode is NONE",
    ),
    (
        lambda g: g.route.update(
            {"typed_per_filter_config": {NAME: {"@type": "type.googleapis.com/x.FilterConfig", "disabled": True}}}
        ),
        "the ext_proc filter is disabled here",
    ),
    (
        lambda g: g.route.update({"typed_per_filter_config": {"ext_proc": {"@type": PER_ROUTE, "disabled": True}}}),
        "names 'ext_proc', and no filter is called so: it does nothing",
    ),
    (
        lambda g: g.route["route"].update(weighted_clusters={"clusters": [{"name": "b", **per_route(disabled=True)}]}),
        "cluster b: the ext_proc filter is disabled here",
    ),
    (
        lambda g: g.manager.update(upgrade_configs=[{"upgrade_type": "websocket", "filters": [g.filters[1]]}]),
        "upgrades to 'websocket' have filters of their own, without ext_proc",
    ),
]


@pytest.mark.parametrize(("spoil", "sentence"), SPOILT, ids=[sentence[:40] for _, sentence in SPOILT])
def test_what_is_wrong_with_the_filter_is_one_sentence(spoil: Change, sentence: str) -> None:
    gateway = Gateway()
    spoil(gateway)
    [found] = judged(gateway)
    assert re.search(sentence, found)
    assert re.fullmatch(r"[^;]+: .+; .+", found)


def test_a_route_to_nowhere_may_have_the_filter_disabled_and_an_upgrade_may_have_the_usual_ones() -> None:
    gateway = Gateway()
    gateway.host["routes"][-1].update(per_route(disabled=True))
    gateway.manager["upgrade_configs"] = [{"upgrade_type": "websocket"}, {"filters": gateway.filters}]
    assert judged(gateway) == []


def test_of_several_ext_proc_filters_only_the_one_that_leads_here_is_judged() -> None:
    gateway = Gateway()
    other = copy.deepcopy(gateway.filters[0])
    other["name"] = "somebody.else"
    other["typed_config"] = {**other["typed_config"], "failure_mode_allow": True, "grpc_service": {"google_grpc": {}}}
    gateway.filters.insert(0, other)
    assert judged(gateway) == []
    gateway.filters.pop(1)
    assert any("failure_mode_allow" in each for each in judged(gateway)), "the only one is ours, whatever it leads to"


def test_listeners_routes_and_clusters_may_come_from_a_control_plane() -> None:
    gateway = Gateway()
    gateway.table.update(per_route(disabled=True))
    table = gateway.manager.pop("route_config")
    gateway.manager["rds"] = {"route_config_name": "egress"}
    dynamic = {
        "configs": [
            {"dynamic_active_clusters": [{"cluster": gateway.cluster}]},
            {"dynamic_listeners": [{"name": "egress", "active_state": {"listener": gateway.listener}}]},
            {"dynamic_route_configs": [{"route_config": table}, {"route_config": {"name": "other", **per_route(x=1)}}]},
        ]
    }
    dump = json.loads(json.dumps(dynamic))
    [manager] = managers(dump)
    [filter_] = ours(manager.filters, dump, NEEDS)
    assert [each.problem for each in of_manager(manager, [filter_], NEEDS)] == [
        "the ext_proc filter is disabled here: requests pass unjudged"
    ]
    assert cluster_named(dump, cluster_of(filter_))["name"] == "ext_proc"


@pytest.mark.parametrize("junk", [{}, {"configs": None}, {"configs": [1, {"static_listeners": [{"listener": []}]}]}])
def test_what_is_no_dump_has_no_listener_and_is_no_crash(junk: dict[str, Any]) -> None:
    assert list(managers(junk)) == []
    assert cluster_named(junk, "ext_proc") == {}


# the cluster and the counters

HEALTHY = {"address": {"pipe": {"path": "/run/x.sock"}}, "health_status": {"eds_health_status": "HEALTHY"}}


def hosts(*found: object) -> dict[str, Any]:
    return {"cluster_statuses": [{"name": "ext_proc", "host_statuses": list(found)}, {"name": "other"}]}


def test_the_cluster_of_the_server() -> None:
    cluster = Gateway().cluster
    assert list(of_cluster("ext_proc", cluster, hosts(HEALTHY))) == []
    [missing] = of_cluster("ext_proc", {}, hosts(HEALTHY))
    assert "there is no such cluster" in missing.problem
    [empty] = of_cluster("ext_proc", cluster, hosts())
    assert "no endpoint" in empty.problem
    failed = {**HEALTHY, "health_status": {"failed_active_health_check": True, "eds_health_status": "HEALTHY"}}
    [sick] = of_cluster("ext_proc", cluster, hosts(HEALTHY, failed))
    assert sick.problem == "unix:///run/x.sock is not healthy for Envoy (failed_active_health_check)"
    cluster["circuit_breakers"] = {"thresholds": [{"priority": "HIGH", "max_requests": 100000}]}
    assert [each.problem.split(":")[0] for each in of_cluster("ext_proc", cluster, hosts(HEALTHY))] == [
        "its circuit breaker has max_requests 1024",
        "its circuit breaker has max_pending_requests 1024",
    ]


@pytest.mark.parametrize(
    ("stats", "problem"),
    [
        ({"http.egress.ext_proc.streams_started": 9, "http.egress.ext_proc.server_half_closed": 0}, ""),
        ({"http.egress.ext_proc.server_half_closed": 3, "http.egress.ext_proc.streams_failed": 3}, ""),
        ({"http.a.ext_proc.server_half_closed": 3, "http.b.ext_proc.streams_failed": 3}, "3 exchanges may have passed"),
        ({"http.egress.ext_proc.server_half_closed": 3, "http.egress.ext_proc.streams_failed": 1}, "2 exchanges may"),
        ({"http.egress.ext_proc.own.failure_mode_allowed": 1}, "1 exchanges passed unjudged"),
        ({"cluster.egress/a.ext_proc.failure_mode_allowed": 1}, "1 exchanges passed unjudged"),
        ({"cluster.ext_proc.upstream_rq_pending_overflow": 2}, "2 exchanges were answered with an error"),
        ({"cluster.other.upstream_rq_pending_overflow": 2}, ""),
    ],
)
def test_what_envoy_counted(stats: dict[str, float], problem: str) -> None:
    told = {"stats": [{"name": name, "value": value} for name, value in stats.items()] + [{"histograms": {}}]}
    found = [each.problem for each in of_stats(values(told), "ext_proc")]
    assert [problem in each for each in found] == ([True] if problem else [])


# the server


def dependency(problem: str | None, *, required: bool = True) -> dict[str, Any]:
    return {"required": required, "reachable": problem is None, "problem": problem}


def test_dependencies_are_told_once_whoever_asks() -> None:
    down = {**STATUS, "dependencies": {"redis": dependency("it refuses"), "vault": dependency(None)}}
    told = {"workers": {"0": down, "1": down, "2": None}}
    found = [str(each) for each in of_status(told)]
    assert len(found) == 2
    assert found[0].startswith("worker 2: it does not answer")
    assert (
        "dependency redis: it refuses (so says worker 0, worker 1, and exchanges that need it are denied)" in found[1]
    )
    assert list(of_readiness(["worker 0: redis: it refuses", "worker 1: redis: it refuses"], told)) == []
    [draining] = of_readiness(["worker 1: not yet, or no longer"], told)
    assert "not ready: worker 1: not yet, or no longer" in draining.problem


def test_one_that_nothing_needs_is_told_without_that() -> None:
    [found] = of_status({**STATUS, "dependencies": {"redis": dependency("it refuses", required=False)}})
    assert "denied" not in str(found)


def test_what_is_degraded_is_told() -> None:
    finding = {"condition": "Degraded", "reason": "X", "message": "type unknown", "place": "a.yaml:3"}
    ignored = {**finding, "condition": "NotServedHere"}
    [found] = of_status({**STATUS, "findings": [finding, ignored]})
    assert (found.where, found.problem) == ("a.yaml:3", "Degraded, type unknown")


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ('extproc_denials_total{backend="b",code="key_unresolved",gateway="g"} 2.0', 2),
        (
            'extproc_denials_total{code="key_unresolved"} 1.0\nextproc_denials_total{worker="1",code="key_unresolved"} 2.0',
            3,
        ),
        ('extproc_denials_total{code="rate_limited"} 7.0', 0),
        ('extproc_denials_total{code="key_unresolved"} 0.0', 0),
        ('extproc_denials_created{code="key_unresolved"} 1.7e9', 0),
    ],
)
def test_keys_that_do_not_resolve(line: str, count: int) -> None:
    found = [each.problem for each in of_metrics(f"# TYPE x counter\n{line}\n")]
    assert [each.partition(" ")[0] for each in found] == ([str(count)] if count else [])


def test_needs_of_several_workers_are_those_of_the_first_that_answers() -> None:
    assert needs_of({"workers": {"0": None, "1": STATUS}}) == NEEDS
    assert needs_of({"workers": {"0": None}}) is None
    assert needs_of({}) is None


# whatever answers

NAMES = (
    "configs", "static_listeners", "dynamic_listeners", "listener", "active_state", "filter_chains", "filters", "typed_config",
    "@type", "http_filters", "route_config", "virtual_hosts", "routes", "route", "typed_per_filter_config", NAME, "overrides",
    "processing_mode", "name", "static_clusters", "cluster", "circuit_breakers", "thresholds", "max_requests",
    "metadata_options", "cluster_statuses", "host_statuses", "health_status", "stats", "value", "workers", "needs", "listen",
    "maxBodyBytes", "budget", "dependencies", "redis", "problem", "findings", "condition", "upgrade_configs", "message_timeout",
)  # fmt: skip
WORDS = (
    "HttpConnectionManager",
    "a.ExternalProcessor",
    "ext_proc",
    "inf",
    "nan",
    "1e999s",
    "1s",
    "unix:///",
    "\x1b[2J\n",
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=30,
)


@settings(max_examples=150)
@given(told=st.dictionaries(st.sampled_from(NAMES), JUNK), part=JUNK, text=st.text())
def test_nothing_that_answers_can_make_it_fall_over(told: dict[str, Any], part: Any, text: str) -> None:
    """Whatever is put for a part of the configuration, or says it is the server."""
    needs = needs_of(told)
    found = [*of_status(told), *of_readiness([text], told), *of_metrics(text), *of_stats(values(told), "ext_proc")]
    found += of_cluster("ext_proc", told, told)
    gateway = Gateway()
    for holder in (gateway.filter, gateway.modes, gateway.manager, gateway.host, gateway.route, gateway.cluster):
        if isinstance(part, dict):
            holder.update(part)
    for dump in (
        told,
        {"configs": [{"static_listeners": [{"listener": gateway.listener}]}, {"static_clusters": [part]}]},
    ):
        for manager in managers(dump):
            found += of_manager(manager, ours(manager.filters, dump, needs), needs)
    assert all(str(each).isprintable() for each in found)


# the command


def test_nobody_there_is_a_finding_each(extproc: Callable[..., Ran], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = f"127.0.0.1:{server.getsockname()[1]}"
    ran = extproc("doctor", "--admin", free, "--envoy-admin", f"unix://{tmp_path}/none.sock")
    assert ran.code == 1
    [server_line, envoy_line] = ran.out.splitlines()
    assert server_line.startswith(f"server's admin port {free}: it cannot be reached (Connection refused); start")
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
    assert found[0].keys() == {"where", "problem", "remedy"}


@pytest.mark.parametrize("option", ["--admin", "--envoy-admin"])
@pytest.mark.parametrize("address", ["nonsense", "unix://@abstract", "http://127.0.0.1:9090", "127.0.0.1:99999", ""])
def test_what_is_no_address_is_refused(extproc: Callable[..., Ran], option: str, address: str) -> None:
    ran = extproc("doctor", option, address)
    assert ran.code == 2
    assert ran.err.startswith(f"error: {option}: ")


# The upstream pass

EACH_TRY = replace(PLAN, upstreams=tuple(replace(one, upstream_pass=True) for one in PLAN.upstreams))
UPSTREAM_NEEDS = replace(NEEDS, upstream_clusters=("egress/stub", "egress/of-another-envoy")) if NEEDS else None


class Upstream(Gateway):
    """The generated configuration with the upstream filter, to be spoilt."""

    def __init__(self) -> None:
        super().__init__(bootstrap(EACH_TRY))
        self.cluster = next(one for one in self.clusters if one["name"] == "egress/stub")
        self.options = self.cluster["typed_extension_protocol_options"][HTTP_OPTIONS]
        self.each_try = self.options["http_filters"][0]["typed_config"]
        self.metadata = self.each_try["metadata_options"]

    def to_the_router(self) -> None:
        """The filter at the router, for all clusters, instead of at the cluster."""
        self.filters[1]["typed_config"]["upstream_http_filters"] = self.options.pop("http_filters")


def judged_upstream(gateway: Gateway, needs: Needs | None = UPSTREAM_NEEDS) -> list[str]:
    dump = gateway.dump
    found = list(managers(dump))
    filters = [one for manager in found for one in ours(manager.filters, dump, needs)]
    return [str(each) for each in of_upstream(dump, found, filters, needs)]


def test_the_generated_upstream_filter_is_right_at_the_cluster_or_at_the_router() -> None:
    gateway = Upstream()
    assert judged(gateway) == []
    assert judged_upstream(gateway) == []
    gateway.to_the_router()
    assert judged_upstream(gateway) == []


def test_where_no_upstream_pass_is_needed_nothing_is_asked_of_envoy() -> None:
    assert judged_upstream(Gateway(), NEEDS) == []
    assert judged_upstream(Gateway(), None) == []


SPOILT_UPSTREAM: list[tuple[Callable[[Upstream], object], str]] = [
    (lambda g: g.options.pop("http_filters"), "cluster egress/stub: it has no upstream filter"),
    (lambda g: g.each_try.update(failure_mode_allow=True), "cluster egress/stub, .*failure_mode_allow is true"),
    (lambda g: [g.to_the_router(), g.each_try.update(failure_mode_allow=True)], "of the router: failure_mode_allow"),
    (lambda g: g.each_try["grpc_service"].pop("initial_metadata"), "not told that this is the upstream pass"),
    (lambda g: g.each_try["grpc_service"]["initial_metadata"].pop(), "and of which Backend; set x-extproc-pass"),
    (lambda g: g.metadata.pop("forwarding_namespaces"), "is not forwarded, and every try is denied"),
    (lambda g: g.each_try["request_attributes"].clear(), "the server is not told xds.cluster_name"),
    (lambda g: g.each_try["processing_mode"].update(request_header_mode="SKIP"), "SKIP: nothing is judged"),
    (
        lambda g: g.each_try["processing_mode"].update(response_body_mode="BUFFERED"),
        "BUFFERED, which this server refuses",
    ),
    (lambda g: g.each_try.pop("message_timeout"), "message_timeout is 0.2 s"),
    (lambda g: g.filter["metadata_options"]["receiving_namespaces"]["untyped"].pop(), "add extproc.internal to"),
]


@pytest.mark.parametrize(("spoil", "sentence"), SPOILT_UPSTREAM, ids=[sentence[:40] for _, sentence in SPOILT_UPSTREAM])
def test_what_is_wrong_with_the_upstream_filter_is_one_sentence(
    spoil: Callable[[Upstream], object], sentence: str
) -> None:
    gateway = Upstream()
    spoil(gateway)
    [found] = judged_upstream(gateway)
    assert re.search(sentence, found)
    assert re.fullmatch(r"[^;]+: .+; .+", found)
