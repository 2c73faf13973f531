"""The generated configuration: Envoy accepts every one, and it says what the contract asks for."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from extproc.core.verdict import DENIALS
from extproc.envoy.binary import find_envoy
from extproc.envoy.bootstrap import bootstrap, text
from extproc.envoy.clusters import backend_cluster
from extproc.envoy.plan import Certificate, Match, Plan, Retry, Rule, Tls, Upstream, VirtualHost
from extproc.envoy.replies import REPLIES, message_of
from extproc.errors import ConfigError
from extproc.policy.names import Address, parse_address
from tests.certificates import Authority

PLAIN = Upstream("egress/plain", "localhost", 8001)
SECURE = Upstream("egress/secure", "api.openai.com", 443, Tls("api.openai.com"))
ADDRESS = Upstream("egress/address", "127.0.0.1", 8443, Tls("127.0.0.1"))
EACH_TRY = replace(PLAIN, backend="egress/plain", upstream_pass=True)
SECOND = replace(SECURE, backend="egress/secure", upstream_pass=True)
SIX = Upstream("egress/six", "[::1]", 8443, Tls("[::1]"))


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "gateway": "egress/egress",
        "listen": Address(host="127.0.0.1", port=10000),
        "admin": parse_address("unix:///tmp/a.sock"),
        "sockets": (parse_address("unix:///tmp/x.sock"),),
        "upstreams": (PLAIN,),
        "hosts": (VirtualHost(("localhost",), (Rule("all", Match(), ((PLAIN, 1),)),)),),
        "system_ca": Path("/etc/ssl/certs/ca-certificates.crt"),
    }
    return Plan(**{**values, **changes})


def manager(config: Any) -> Any:
    return config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def cluster(config: Any, name: str) -> Any:
    return next(one for one in config["static_resources"]["clusters"] if one["name"] == name)


def accepted(directory: Path, config: Any) -> subprocess.CompletedProcess[str]:
    path = directory / "envoy.yaml"
    path.write_text(text(config))
    argv = [str(find_envoy(os.environ)), "--mode", "validate", "--config-path", str(path), "--log-level", "warning"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


@pytest.mark.e2e
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"request_body": True, "response_body": True, "max_body_bytes": 64 * 1024 * 1024, "trailers": True},
        {"sockets": tuple(parse_address(f"127.0.0.1:{port}") for port in (9001, 9002))},
        {"listen": parse_address("[::1]:10000"), "admin": parse_address("127.0.0.1:9901")},
        {"upstreams": (), "hosts": ()},
        {
            "upstreams": (EACH_TRY, SECOND),
            "hosts": (
                VirtualHost(
                    ("localhost",),
                    (
                        Rule("r-0", Match(), ((EACH_TRY, 1),), Retry(2, (500, 503), 0.025)),
                        Rule("r-1", Match(prefix="/b"), ((EACH_TRY, 1), (SECOND, 1)), Retry(), "egress/both"),
                    ),
                ),
            ),
        },
        {
            "upstreams": (PLAIN, SECURE, ADDRESS, SIX),
            "hosts": (
                VirtualHost(
                    ("*.example.com", "a.example"),
                    (
                        Rule("r-0", Match(exact="/v1"), ((SECURE, 1),)),
                        Rule("r-1", Match(prefix="/v1/", method="GET"), ((SECURE, 9), (PLAIN, 1))),
                        Rule("r-2", Match(headers=(("x-a", "b"),), query=(("c", "d"),))),
                        Rule("r-3", Match(prefix="/"), ((ADDRESS, 1),)),
                    ),
                ),
                VirtualHost(("[::1]",), (Rule("r-4", Match(), ((SIX, 1),)),)),
            ),
        },
    ],
    ids=["least", "bodies", "workers", "addresses", "empty", "upstream", "routes"],
)
def test_envoy_accepts_it(tmp_path: Path, changes: dict[str, Any]) -> None:
    ran = accepted(tmp_path, bootstrap(plan(**changes)))
    assert ran.returncode == 0, ran.stderr
    assert "eprecated" not in ran.stderr


NAMES = st.text("abcdefgh-", min_size=1, max_size=8).map(lambda name: f"a{name}a")
TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12)


@pytest.mark.e2e
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.generate),  # each example starts an Envoy: no time to shrink
)
@example(paths=["/N", "/1e3"], headers=[("aa", "y"), ("ab", "0o7")], query=[("0", "N"), ("~", "1_000"), ("y", ".inf")])
@given(
    paths=st.lists(TEXTS.map(lambda path: f"/{path}"), min_size=1, max_size=3),
    headers=st.lists(st.tuples(NAMES, TEXTS), max_size=2),
    query=st.lists(st.tuples(TEXTS, TEXTS), max_size=2),
)
def test_texts_of_a_route_stay_texts(
    tmp_path: Path, paths: list[str], headers: list[tuple[str, str]], query: list[tuple[str, str]]
) -> None:
    """Whatever characters a route's texts have, YAML and Envoy read them as they are written."""
    rules = [
        Rule(f"r-{index}", Match(exact=path, headers=tuple(headers), query=tuple(query)), ((PLAIN, 1),))
        for index, path in enumerate(paths)
    ]
    config = bootstrap(plan(hosts=(VirtualHost(("localhost",), tuple(rules)),)))
    assert yaml.safe_load(text(config)) == config
    ran = accepted(tmp_path, config)
    assert ran.returncode == 0 or "path_separated_prefix" in ran.stderr, ran.stderr


def test_failures_of_the_server_are_closed() -> None:
    ext_proc = manager(bootstrap(plan()))["http_filters"][0]["typed_config"]
    assert ext_proc["failure_mode_allow"] is False
    assert ext_proc["status_on_error"] == {"code": "ServiceUnavailable"}
    assert ext_proc["message_timeout"] == "1s"
    assert ext_proc["mutation_rules"]["disallow_is_error"] is True


@pytest.mark.parametrize(("address", "told"), [("unix:///tmp/a.sock", True), ("127.0.0.1:9901", False)])
def test_the_admin_port_can_be_told_to_send_callers_away_where_files_guard_it(address: str, told: bool) -> None:
    allowed = bootstrap(plan(admin=parse_address(address)))["admin"]["allow_paths"]
    assert ({"exact": "/healthcheck/fail"} in allowed) is told
    assert not [one for one in allowed if "quit" in str(one) or "runtime" in str(one) or "drain" in str(one)]


@pytest.mark.parametrize(("budget", "timeout"), [(0.8, "1s"), (0.1, "1s"), (0.9, "1.1s"), (5.0, "5.2s")])
def test_envoy_waits_longer_than_the_budget(budget: float, timeout: str) -> None:
    ext_proc = manager(bootstrap(plan(budget=budget)))["http_filters"][0]["typed_config"]
    assert ext_proc["message_timeout"] == timeout


@pytest.mark.parametrize(("request_body", "response_body"), [(False, False), (True, False), (True, True)])
def test_bodies_are_buffered_where_a_chain_wants_them(request_body: bool, response_body: bool) -> None:
    config = bootstrap(plan(request_body=request_body, response_body=response_body))
    modes = manager(config)["http_filters"][0]["typed_config"]["processing_mode"]
    assert modes["request_body_mode"] == ("BUFFERED" if request_body else "NONE")
    assert modes["response_body_mode"] == ("BUFFERED" if response_body else "NONE")
    assert (modes["request_trailer_mode"], modes["response_trailer_mode"]) == ("SEND", "SKIP")


def test_buffers_are_twice_the_largest_body_and_64_kib() -> None:
    listener = bootstrap(plan(max_body_bytes=3_000_000))["static_resources"]["listeners"][0]  # type: ignore[index]
    assert listener["per_connection_buffer_limit_bytes"] == 6_000_000 + 65536


def test_all_workers_are_in_the_cluster() -> None:
    sockets = tuple(parse_address(f"unix:///tmp/extproc-{index}.sock") for index in range(3))
    found = cluster(bootstrap(plan(sockets=sockets)), "ext_proc")
    endpoints = found["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert [one["endpoint"]["address"]["pipe"]["path"] for one in endpoints] == [str(s.path) for s in sockets]
    assert found["lb_policy"] == "LEAST_REQUEST"
    assert found["circuit_breakers"]["thresholds"][0]["max_requests"] > 10_000


@pytest.mark.parametrize("internal", [False, True])
def test_search_domains_count_only_for_what_may_be_inside(internal: bool) -> None:
    cluster = backend_cluster(Upstream("egress/a", "redis.cache", 443, internal=internal), plan())
    resolver = cluster["cluster_type"]["typed_config"]["typed_dns_resolver_config"]["typed_config"]
    assert resolver["dns_resolver_options"] == {"no_default_search_domain": not internal}


@pytest.mark.parametrize(("internal", "asked"), [(False, ["10.0.0.2"]), (True, [])])
def test_dns_servers_are_asked_for_what_is_outside(internal: bool, asked: list[str]) -> None:
    own = plan(resolvers=(parse_address("10.0.0.2:53"),))
    cluster = backend_cluster(Upstream("egress/a", "api.openai.com", 443, internal=internal), own)
    resolver = cluster["cluster_type"]["typed_config"]["typed_dns_resolver_config"]["typed_config"]
    assert [one["socket_address"]["address"] for one in resolver.get("resolvers", [])] == asked


@pytest.mark.e2e
def test_envoy_accepts_tls_and_dns_servers_of_its_own(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("a.example")
    certificate, resolvers = Certificate(issued.cert, issued.key), (parse_address("10.0.0.2:53"),)
    ran = accepted(tmp_path, bootstrap(plan(upstreams=(PLAIN, SECURE), certificate=certificate, resolvers=resolvers)))
    assert ran.returncode == 0, ran.stderr
    assert "eprecated" not in ran.stderr


def test_tls_checks_the_name() -> None:
    found = cluster(bootstrap(plan(upstreams=(SECURE,))), "egress/secure")["transport_socket"]["typed_config"]
    assert found["sni"] == "api.openai.com"
    names = found["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert names == [{"san_type": "DNS", "matcher": {"exact": "api.openai.com"}}]


def test_plaintext_has_no_tls() -> None:
    assert "transport_socket" not in cluster(bootstrap(plan()), "egress/plain")


def test_no_authorities_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"write `fqdn\.tls\.ca` at each Backend"):
        bootstrap(plan(upstreams=(SECURE,), system_ca=None))


@pytest.mark.parametrize(("upstream", "authority"), [(SECURE, "api.openai.com"), (PLAIN, "localhost:8001")])
def test_host_names_the_port_only_where_it_is_unusual(upstream: Upstream, authority: str) -> None:
    assert upstream.authority == authority


def test_every_host_and_rule_ends_in_a_denial() -> None:
    hosts = manager(bootstrap(plan()))["route_config"]["virtual_hosts"]
    assert hosts[-1]["domains"] == ["*"]
    for host in hosts:
        assert host["routes"][-1]["match"] == {"prefix": "/"}
        assert host["routes"][-1]["direct_response"] == {"status": 403}


def test_codes_and_sentences_of_replies_are_those_of_denials() -> None:
    for reply in REPLIES:
        assert message_of(reply.code).endswith(".")
        if reply.code in DENIALS and reply.status:
            assert DENIALS[reply.code][0] == reply.status


def upstream_filter(found: Any) -> Any:
    options = found["typed_extension_protocol_options"]
    ours, codec = options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]["http_filters"]
    assert codec["name"] == "envoy.filters.http.upstream_codec"
    return ours["typed_config"]


def test_only_clusters_with_an_upstream_pass_have_the_filter() -> None:
    config = bootstrap(plan(upstreams=(EACH_TRY, SECURE)))
    found = upstream_filter(cluster(config, "egress/plain"))
    assert found["failure_mode_allow"] is False
    assert found["processing_mode"] == {
        "request_header_mode": "SEND",
        "response_header_mode": "SEND",
        "request_body_mode": "NONE",
        "response_body_mode": "NONE",
        "request_trailer_mode": "SKIP",
        "response_trailer_mode": "SKIP",
    }
    initial = {one["key"]: one["value"] for one in found["grpc_service"]["initial_metadata"]}
    backend = "%UPSTREAM_METADATA(extproc:backend)%"
    assert initial == {"x-extproc-pass": "upstream", "x-extproc-backend": backend}
    assert found["metadata_options"]["forwarding_namespaces"] == {"untyped": ["extproc.internal"]}
    (endpoint,) = cluster(config, "egress/plain")["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["metadata"] == {"filter_metadata": {"extproc": {"backend": "egress/plain"}}}
    options = cluster(config, "egress/secure")["typed_extension_protocol_options"].values()
    assert not any("http_filters" in one for one in options)


@pytest.mark.parametrize(
    ("upstreams", "received"), [((PLAIN,), ["extproc"]), ((EACH_TRY,), ["extproc", "extproc.internal"])]
)
def test_the_token_goes_to_the_upstream_filter_alone(upstreams: tuple[Upstream, ...], received: list[str]) -> None:
    config = bootstrap(plan(upstreams=upstreams))
    ext_proc = manager(config)["http_filters"][0]["typed_config"]
    assert ext_proc["metadata_options"] == {"receiving_namespaces": {"untyped": received}}
    assert "initial_metadata" not in ext_proc["grpc_service"]
    assert "extproc.internal" not in yaml.safe_dump(manager(config)["access_log"])
