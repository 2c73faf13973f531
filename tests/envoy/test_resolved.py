"""From a configuration to the plan of its gateway; and what a generated configuration does not serve."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.compose import CATALOG
from extproc.envoy.plan import Certificate, Match, Plan, Retry, Tls
from extproc.envoy.resolved import plan_of
from extproc.errors import ConfigError, Refused
from extproc.outside import Connected
from extproc.policy.read import load
from extproc.policy.resolve import resolve

VERSION = "egress.extproc.dev/v1alpha1"


def backend(name: str, hostname: str, **spec: Any) -> dict[str, Any]:
    tls = spec.pop("tls", {"mode": "SIMPLE"})
    metadata = {"name": name, "namespace": "egress"}
    fqdn = {"hostname": hostname, "port": spec.pop("port", 443), "tls": tls}
    return {
        "apiVersion": VERSION, "kind": "Backend", "metadata": metadata, "spec": {"type": "FQDN", "fqdn": fqdn, **spec}
    }  # fmt: skip


def route(hostnames: list[str], *rules: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "egress"},
        "spec": {"parentRefs": [{"name": "egress"}], "hostnames": hostnames, "rules": list(rules)},
    }


def planned(directory: Path, *documents: Mapping[str, Any], **settings: Any) -> Plan:
    configuration = {
        "apiVersion": VERSION,
        "kind": "ExtProcConfiguration",
        "gateway": "egress/egress",
        "authentication": "none",
        **settings,
    }
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump_all([configuration, *documents]))
    return plan_of(resolve(load(path), CATALOG, Connected))


def test_a_backend_is_a_cluster_and_a_host(tmp_path: Path) -> None:
    plan = planned(tmp_path, backend("openai", "API.OpenAI.com"))
    (upstream,) = plan.upstreams
    assert (upstream.cluster, upstream.host, upstream.port) == ("egress/openai", "api.openai.com", 443)
    assert upstream.tls == Tls("api.openai.com")
    (host,) = plan.hosts
    assert host.domains == ("api.openai.com",)
    assert host.rules[0].destinations == ((upstream, 1),)


def test_names_and_files_of_tls(tmp_path: Path) -> None:
    tls = {"mode": "MUTUAL", "serverName": "internal.test", "ca": "ca.pem", "cert": "/etc/c.pem", "key": "k.pem"}
    (upstream,) = planned(tmp_path, backend("b", "api.test", tls=tls)).upstreams
    assert upstream.tls == Tls("internal.test", tmp_path / "ca.pem", Path("/etc/c.pem"), tmp_path / "k.pem")


def test_no_tls(tmp_path: Path) -> None:
    (upstream,) = planned(tmp_path, backend("b", "api.test", tls={"mode": "NONE"}, port=8080)).upstreams
    assert upstream.tls is None


def test_clusters_of_a_backends_own(tmp_path: Path) -> None:
    (upstream,) = planned(tmp_path, backend("b", "api.test", clusters=["z", "a"])).upstreams
    assert upstream.cluster == "a"
    (upstream,) = planned(tmp_path, backend("b", "api.test", clusters=["a", "egress/b"])).upstreams
    assert upstream.cluster == "egress/b"


@pytest.mark.parametrize("name", ["ext_proc", "egress/other"])
def test_a_cluster_has_one_owner(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"the cluster '.*' is another one's too; leave `clusters` out"):
        planned(tmp_path, backend("b", "api.test", clusters=[name]), backend("other", "b.test"))


def test_one_that_lost_its_hostname_is_not_served(tmp_path: Path) -> None:
    plan = planned(tmp_path, backend("a", "api.test"), backend("b", "api.test"))
    assert [one.cluster for one in plan.upstreams] == ["egress/a"]


def test_a_host_of_a_route_is_the_routes_alone(tmp_path: Path) -> None:
    refs = [{"group": "egress.extproc.dev", "kind": "Backend", "name": "b", "weight": 5}]
    rules = (
        {"matches": [{"path": {"value": "/"}}], "backendRefs": refs},
        {"matches": [{"path": {"type": "Exact", "value": "/x"}, "method": "GET"}], "backendRefs": refs},
        {"matches": [{"path": {"value": "/nothing/"}}]},
    )
    plan = planned(tmp_path, backend("b", "api.test"), backend("c", "a.wild.test"), route(["*.wild.test"], *rules))
    assert [host.domains for host in plan.hosts] == [("*.wild.test",), ("api.test",)]
    wild = plan.hosts[0].rules
    assert [rule.match for rule in wild] == [Match(exact="/x", method="GET"), Match(prefix="/nothing"), Match()]
    assert [weight for rule in wild for _, weight in rule.destinations] == [5, 5]


def test_each_worker_has_its_socket(tmp_path: Path) -> None:
    plan = planned(tmp_path, workers=3, listen=[{"address": "unix:///run/extproc/x.sock"}])
    assert [str(one) for one in plan.sockets] == [f"unix:///run/extproc/x-{index}.sock" for index in range(3)]
    plan = planned(tmp_path, workers=2, listen=[{"address": "localhost:9000", "insecure": True}])
    assert [str(one) for one in plan.sockets] == ["127.0.0.1:9000", "127.0.0.1:9001"]


TLS = {"cert": "c", "key": "k", "clientCA": "ca", "allowedClients": ["envoy.test"]}


def test_a_socket_is_taken_before_a_port(tmp_path: Path) -> None:
    listen = [{"address": "0.0.0.0:9000", "tls": TLS}, {"address": "unix:///run/x/x.sock"}]
    assert str(planned(tmp_path, listen=listen).sockets[0]) == "unix:///run/x/x.sock"


@pytest.mark.parametrize(
    ("settings", "field", "sentence"),
    [
        ({"trafficPolicy": "Allow"}, "trafficPolicy", "does not serve `trafficPolicy: Allow`"),
        ({"listen": [{"address": "0.0.0.0:9000", "tls": TLS}]}, "listen", "add a listener on a Unix socket"),
        ({"envoy": {"listen": "gateway.test:80"}}, "envoy.listen", "Envoy listens on addresses"),
        ({"envoy": {"admin": "gateway.test:80"}}, "envoy.admin", "Envoy listens on addresses"),
        ({"envoy": {"listen": "127.0.0.1:80", "admin": "localhost:80"}}, "envoy.admin", "another part"),
        ({"workers": 2, "envoy": {"admin": "unix:///run/extproc/extproc-1.sock"}}, "envoy.admin", "another part"),
        ({"envoy": {"listen": "unix:///run/extproc/extproc.sock"}}, "envoy.listen", "another part"),
    ],
)
def test_what_is_not_served_is_said(tmp_path: Path, settings: dict[str, Any], field: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        planned(tmp_path, **settings)
    assert caught.value.place.field == field


def test_how_much_memory_envoy_may_take_is_said_or_nothing_bounds_it(tmp_path: Path) -> None:
    assert planned(tmp_path).max_heap_bytes is None
    assert planned(tmp_path, envoy={"maxHeapBytes": 2**29}).max_heap_bytes == 2**29
    with pytest.raises(Refused, match=r"envoy\.maxHeapBytes: this must be at least 67108864"):
        planned(tmp_path, envoy={"maxHeapBytes": 512})


def test_trailers_and_bodies_follow_the_configuration(tmp_path: Path) -> None:
    assert planned(tmp_path).trailers is False
    assert planned(tmp_path, requestTrailers=["x-checksum"]).trailers is True
    assert planned(tmp_path).request_body is False


def test_a_route_is_unread_if_no_backend_of_it_has_an_extension_that_reads_bodies(tmp_path: Path) -> None:
    pii = {"name": "pii", "type": "PIIDetector:v1", "phase": "request-body", "config": {"redactionStyle": "mask"}}
    documents = backend("a", "a.test"), backend("b", "b.test", extensions=[pii])
    both, first = {"backendRefs": refs("a", "b")}, {"backendRefs": refs("a")}
    plan = planned(tmp_path, *documents, route(["x.test"], {**first, "matches": [{"method": "GET"}]}, both))
    unread = {rule.name: rule.unread for host in plan.hosts for rule in host.rules}
    assert unread == {
        "HTTPRoute/egress/r/0": True,
        "HTTPRoute/egress/r/1": False,
        "Backend/egress/a": True,
        "Backend/egress/b": False,
    }


SECRETS = {"keys": {"env": {"names": ["KEY"]}, "backends": ["egress/a"]}}
EACH_TRY = {
    "name": "inject",
    "type": "CredentialInjector:v1",
    "phase": "backend-request",
    "config": {"source": "keys", "path": "KEY"},
}


def refs(*names: str) -> list[dict[str, str]]:
    return [{"group": "egress.extproc.dev", "kind": "Backend", "name": name} for name in names]


def sharing(name: str, cluster: str = "egress/both", **spec: Any) -> dict[str, Any]:
    return backend(name, f"{name}.test", clusters=[f"egress/{name}", cluster], **spec)


def test_backends_that_share_a_cluster_follow_one_another(tmp_path: Path) -> None:
    retry = {"attempts": 2, "codes": [503], "backoff": "50ms"}
    documents = sharing("a", extensions=[EACH_TRY]), sharing("b"), backend("c", "c.test")
    rules = {"backendRefs": refs("b", "a"), "retry": retry}
    plan = planned(tmp_path, *documents, route(["x.test"], rules), upstreamPass=True, secretSources=SECRETS)
    assert [(one.backend, one.cluster, one.upstream_pass) for one in plan.upstreams] == [
        ("egress/a", "egress/a", True),
        ("egress/b", "egress/b", True),
        ("egress/c", "egress/c", False),
    ]
    assert plan.upstream_pass
    (rule,) = plan.hosts[0].rules
    assert (rule.retry, rule.fallback) == (Retry(2, (503,), 0.05), "egress/both")
    assert {name: [one.backend for one in found] for name, found in plan.fallbacks.items()} == {
        "egress/both": ["egress/b", "egress/a"]
    }


@pytest.mark.parametrize(
    "documents",
    [
        [
            sharing("a"),
            sharing("b"),
            route(["x.test"], {"backendRefs": refs("a", "b")}, {"backendRefs": refs("b", "a")}),
        ],
        [
            *(sharing(name) for name in "ab"),
            backend("c", "c.test", clusters=["egress/both"]),
            route(["x.test"], {"backendRefs": refs("a", "b")}),
        ],
        [sharing("a", "ext_proc"), sharing("b", "ext_proc"), route(["x.test"], {"backendRefs": refs("a", "b")})],
    ],
    ids=["another order", "a Backend's own", "the server's"],
)
def test_a_shared_cluster_is_one_list_of_backends(tmp_path: Path, documents: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match=r"cluster '.*' of a rule's Backends is also one of others"):
        planned(tmp_path, *documents, upstreamPass=True)


def test_envoys_own_settings(tmp_path: Path) -> None:
    plan = planned(tmp_path, backend("a", "a.example"))
    assert (plan.certificate, plan.resolvers) == (None, ())
    envoy = {"tls": {"cert": "a.crt", "key": "/run/a.key"}, "resolvers": ["10.0.0.2:53", "[fd00::2]:5353"]}
    plan = planned(tmp_path, backend("a", "a.example"), envoy=envoy)
    assert plan.certificate == Certificate(tmp_path / "a.crt", Path("/run/a.key"))
    assert [str(one) for one in plan.resolvers] == envoy["resolvers"]


@pytest.mark.parametrize("resolver", ["dns.example:53", "unix:///run/dns.sock", "localhost:53"])
def test_a_dns_server_that_is_no_address(tmp_path: Path, resolver: str) -> None:
    with pytest.raises(ConfigError, match="write a DNS server's address and port, such as"):
        planned(tmp_path, envoy={"resolvers": [resolver]})
