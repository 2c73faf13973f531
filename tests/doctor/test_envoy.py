"""What is judged of Envoy as a whole, and what needs another version of it than the one at hand."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extproc.doctor.dump import Dump, read
from extproc.doctor.examine import of_envoy
from extproc.doctor.finding import Code, Finding
from extproc.doctor.needs import Needs
from extproc.doctor.version import of_admin, of_runtime, of_version, version_of
from tests.certificates import Authority
from tests.doctor.parts import Parts, needs_of, plan_in
from tests.doctor.planes import envoy_gateway, needs
from tests.doctor.real import Told, running, told
from tests.e2e.processes import short_directory, wait_until

pytestmark = pytest.mark.e2e

FLAGS = {"ext_proc_graceful_grpc_close": True, "ext_proc_fail_close_spurious_resp": False}


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path


@pytest.fixture(scope="module")
def right(directory: Path) -> tuple[Told, Needs]:
    """The generated configuration, as a real Envoy tells it."""
    plan = plan_in(directory, Authority(directory).file)
    parts = Parts(plan, "right")
    resources = {"listeners": [parts.listener], "clusters": parts.clusters}
    with running({"static_resources": resources}, directory) as admin:
        return told(admin), needs_of(plan, upstream_clusters=("egress/stub@right", "egress/secure@right"))


def codes(findings: list[Finding]) -> list[Code]:
    return [one.code for one in findings]


def judged(right: tuple[Told, Needs], change: Any) -> list[Finding]:
    """What is found after `change` to what Envoy said."""
    answers, wanted = right
    raw = copy.deepcopy(answers.raw)
    change(raw)
    dump = replace(read(raw, {}), hosts=answers.dump.hosts)
    return list(of_envoy("Envoy", dump, answers.stats, wanted))


def test_an_open_admin_socket_flags_and_no_listener_are_found_on_a_real_envoy(directory: Path) -> None:
    path = directory / "open.sock"
    config = {
        "admin": {"address": {"pipe": {"path": str(path), "mode": 0o666}}},
        "layered_runtime": {
            "layers": [
                {"name": "one", "static_layer": {"envoy": {"reloadable_features": FLAGS}}},
                {
                    "name": "two",
                    "static_layer": {f"envoy.reloadable_features.{name}": not on for name, on in FLAGS.items()},
                },
                {
                    "name": "last",
                    "static_layer": {f"envoy.reloadable_features.{name}": on for name, on in FLAGS.items()},
                },
            ]
        },
    }
    with running(config, directory, "open") as admin:
        answers = told(admin)
    found = list(of_envoy("Envoy", answers.dump, answers.stats, None))
    assert codes(found) == [Code.ENVOY_RUNTIME, Code.ENVOY_RUNTIME, Code.ENVOY_ADMIN, Code.ENVOY_NO_LISTENER]
    assert "its socket has mode 666: every user of the machine" in str(found[2])


def test_flags_at_their_defaults_are_nobodys_affair(right: tuple[Told, Needs]) -> None:
    dump = right[0].dump
    layers = [{"static_layer": {f"envoy.reloadable_features.{name}": not on for name, on in FLAGS.items()}}, {}]
    assert list(of_runtime(replace(dump, bootstrap={"layered_runtime": {"layers": layers}}))) == []


@pytest.mark.parametrize(
    ("host", "is_open"),
    [("0.0.0.0", True), ("::", True), ("10.0.0.1", True), ("127.0.0.1", False), ("::1", False), ("", False)],
)
def test_an_admin_port_that_others_reach(right: tuple[Told, Needs], host: str, is_open: bool) -> None:
    address = {"admin": {"address": {"socket_address": {"address": host, "port_value": 9901}}}}
    found = list(of_admin(replace(right[0].dump, bootstrap=address)))
    assert codes(found) == ([Code.ENVOY_ADMIN] if is_open else [])


def test_an_update_that_envoy_refused_is_told_with_its_reason(directory: Path) -> None:
    """A control plane that sends a filter which this Envoy cannot have."""
    with short_directory() as own:
        plane = envoy_gateway(own, Authority(own).file)
        plane.listeners.append(copy.deepcopy(plane.listeners[0]))
        plane.listeners[-1]["name"] = "refused"
        manager = plane.listeners[-1]["default_filter_chain"]["filters"][0]["typed_config"]
        manager["http_filters"][0]["typed_config"]["processing_mode"]["request_body_mode"] = "FULL_DUPLEX_STREAMED"
        manager["http_filters"][0]["typed_config"]["processing_mode"]["request_trailer_mode"] = "SKIP"
        with running(plane.bootstrap(), own) as admin:
            wait_until(lambda: bool(told(admin).dump.refused))
            answers = told(admin)
        found = list(of_envoy("Envoy", answers.dump, answers.stats, needs(own / "extproc.sock")))
    assert codes(found) == [Code.ENVOY_UPDATE]
    assert str(found[0]).startswith("listener refused: Envoy refused the last update and goes on with what it had: ")


# versions


def test_the_version_is_read_and_the_one_at_hand_has_no_known_fault(right: tuple[Told, Needs]) -> None:
    version = version_of(right[0].dump)
    assert version is not None
    assert version >= (1, 40, 0)
    assert list(of_version(version)) == []
    assert version_of(replace(right[0].dump, bootstrap={})) is None
    assert list(of_version(None)) == []


@pytest.mark.parametrize(
    ("version", "faults"),
    [
        ((1, 29, 12), ["April 2025", "CVE-2025-30157", "CVE-2026-47207"]),
        ((1, 33, 0), ["April 2025", "CVE-2025-30157", "CVE-2026-47207"]),
        ((1, 33, 1), ["April 2025", "CVE-2026-47207"]),
        ((1, 34, 14), ["CVE-2026-47207"]),
        ((1, 35, 12), ["CVE-2026-47207"]),
        ((1, 35, 13), []),
        ((1, 36, 8), ["CVE-2026-47207"]),
        ((1, 37, 5), []),
        ((1, 38, 2), ["CVE-2026-47207"]),
        ((1, 38, 3), []),
        ((1, 39, 0), ["1.39.1"]),
        ((1, 39, 1), []),
        ((1, 40, 0), []),
        ((2, 0, 0), []),
    ],
)
def test_faults_of_other_versions(right: tuple[Told, Needs], version: tuple[int, int, int], faults: list[str]) -> None:
    def older(raw: Any) -> None:
        told_version = raw["configs"][0]["bootstrap"]["node"]["user_agent_build_version"]["version"]
        told_version |= dict(zip(("major_number", "minor_number", "patch"), version, strict=True))

    found = judged(right, older)
    assert codes(found) == [Code.ENVOY_VERSION] * len(faults)
    assert all(fault in one.problem for fault, one in zip(faults, found, strict=True))
    assert all(one.where == f"Envoy {'.'.join(map(str, version))}" for one in found)


def manager_of(raw: Any) -> Any:
    (listeners,) = (part["static_listeners"] for part in raw["configs"] if "static_listeners" in part)
    return listeners[0]["listener"]["filter_chains"][0]["filters"][0]["typed_config"]


@pytest.mark.parametrize(("minor", "found"), [(38, [Code.FILTER_CHAINED]), (40, [])])
def test_another_filter_that_streams_bodies_is_a_fault_of_old_versions_only(
    right: tuple[Told, Needs], minor: int, found: list[Code]
) -> None:
    def beside(raw: Any) -> None:
        raw["configs"][0]["bootstrap"]["node"]["user_agent_build_version"]["version"] |= {
            "minor_number": minor,
            "patch": 9,
        }
        filters = manager_of(raw)["http_filters"]
        other = json.loads(json.dumps(filters[0]))
        other["name"] = "somebody.else"
        other["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = "elsewhere"
        other["typed_config"]["metadata_options"] = {}
        other["typed_config"]["failure_mode_allow"] = True
        other["typed_config"]["processing_mode"]["response_body_mode"] = "STREAMED"
        filters.insert(0, other)

    assert codes(judged(right, beside)) == found


# what only a dump can say


def test_a_route_table_that_has_not_come(right: tuple[Told, Needs]) -> None:
    def pending(raw: Any) -> None:
        del manager_of(raw)["route_config"]
        manager_of(raw)["rds"] = {"route_config_name": "late"}

    found = judged(right, pending)
    assert codes(found) == [Code.MANAGER_ROUTES, Code.HOST_UNROUTED, Code.HOST_UNROUTED]
    assert "its route table 'late' has not come" in str(found[0])


def test_a_server_over_http_or_with_another_modifier(right: tuple[Told, Needs]) -> None:
    def changed(raw: Any) -> None:
        config = manager_of(raw)["http_filters"][0]["typed_config"]
        config["http_service"] = {}
        config["processing_request_modifier"] = {"name": "mapped"}

    assert sorted(codes(judged(right, changed))) == [Code.FILTER_HTTP, Code.FILTER_MODIFIER]


def far_away(dump: Dump, **cluster: Any) -> Dump:
    """The server's cluster, behind TLS in another pod."""
    name = "ext_proc@right"
    place = {"address": {"socket_address": {"address": "192.0.2.1", "port_value": 9443}}}
    rules = {"validation_context": {"trusted_ca": {}, "match_typed_subject_alt_names": []}}
    tls = {"typed_config": {"@type": "type.googleapis.com/x.UpstreamTlsContext", "common_tls_context": rules}}
    changed = {**dump.clusters[name], "transport_socket": tls, **cluster}
    options = changed["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
    options["explicit_http_config"]["http2_protocol_options"].pop("connection_keepalive", None)
    return replace(dump, clusters={**dump.clusters, name: changed}, hosts={**dump.hosts, name: (place,)})


@pytest.mark.parametrize(
    ("cluster", "found"),
    [
        ({}, [Code.CLUSTER_KEEPALIVE]),
        ({"health_checks": [{"grpc_health_check": {}}]}, []),
        ({"upstream_connection_options": {"tcp_keepalive": {}}}, []),
    ],
)
def test_a_server_in_another_pod_is_missed_by_something(
    right: tuple[Told, Needs], cluster: dict[str, Any], found: list[Code]
) -> None:
    answers, wanted = right
    dump = far_away(copy.deepcopy(answers.dump), **cluster)
    assert codes(list(of_envoy("Envoy", dump, answers.stats, wanted))) == found


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ([2162688, 4000000], []),
        ([2162687, 4000000], [Code.MANAGER_BUFFER, Code.ROUTE_BUFFER]),
        ([2162688], [Code.MANAGER_BUFFER]),
    ],
)
def test_every_route_may_raise_what_the_listener_buffers_of_a_request(
    right: tuple[Told, Needs], limits: list[int], found: list[Code]
) -> None:
    def raised(raw: Any) -> None:
        (listeners,) = (part["static_listeners"] for part in raw["configs"] if "static_listeners" in part)
        del listeners[0]["listener"]["per_connection_buffer_limit_bytes"]
        hosts = manager_of(raw)["route_config"]["virtual_hosts"]
        for host, limit in zip(hosts, limits, strict=False):
            host["request_body_buffer_limit"] = limit

    assert codes(judged(right, raised)) == found
    answers = replace(right[1], response_body=True)
    assert Code.MANAGER_BUFFER in codes(judged((right[0], answers), raised)), (
        "a response is within the listener's alone"
    )


def test_many_filters_may_be_there_and_only_the_one_that_leads_here_is_judged(right: tuple[Told, Needs]) -> None:
    """One that neither leads here nor takes our metadata may be as it likes; alone it is not the server's."""

    def strange(raw: Any) -> None:
        filters = manager_of(raw)["http_filters"]
        other = json.loads(json.dumps(filters[0]))
        other["name"] = "somebody.else"
        other["typed_config"] |= {
            "failure_mode_allow": True,
            "grpc_service": {"google_grpc": {}},
            "metadata_options": {},
        }
        filters.insert(0, other)

    assert judged(right, strange) == []

    def alone(raw: Any) -> None:
        strange(raw)
        manager_of(raw)["http_filters"].pop(1)

    found = judged(right, alone)
    assert Code.FILTER_FAILURE_MODE in codes(found), "where nobody is known to lead here, everybody may"


def test_a_reason_is_told_without_the_configuration_that_envoy_puts_behind_it(right: tuple[Told, Needs]) -> None:
    def refused(raw: Any) -> None:
        details = 'ALPN configured for a cluster without it: goo.gle/debugonly {inline_string: "s3cret"}'
        raw["configs"].append({"dynamic_listeners": [{"name": "x", "error_state": {"details": details}}]})

    [found] = judged(right, refused)
    assert found.problem.endswith("goes on with what it had: ALPN configured for a cluster without it:")
