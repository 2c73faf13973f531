"""The generated configuration with all that it can have, to be spoilt: its parts by name."""

import copy
import json
from pathlib import Path
from typing import Any

from extproc.doctor.needs import Needs
from extproc.envoy.bootstrap import bootstrap
from extproc.envoy.clusters import HTTP_OPTIONS
from extproc.envoy.plan import Match, Plan, Rule, Tls, Upstream, VirtualHost
from extproc.policy.names import Address

PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
NAME = "envoy.filters.http.ext_proc"


def plan_in(directory: Path, authority: Path) -> Plan:
    """A gateway of two Backends, one of them over TLS, that reads requests' bodies and has an upstream pass."""
    stub = Upstream("egress/stub", "127.0.0.1", 1, backend="egress/stub", upstream_pass=True)
    name = Tls("secure.example", ca=authority)
    secure = Upstream("egress/secure", "127.0.0.1", 443, tls=name, backend="egress/secure", upstream_pass=True)
    return Plan(
        gateway="egress/egress",
        listen=Address(host="127.0.0.1", port=0),
        admin=Address(path=directory / "admin.sock"),
        sockets=(Address(path=directory / "extproc.sock"),),
        request_body=True,
        namespaces=("io.example.usage",),
        upstreams=(stub, secure),
        hosts=tuple(
            VirtualHost((host,), (Rule(f"to-{host}", Match(), ((upstream, 1),)),))
            for host, upstream in (("localhost", stub), ("secure.example", secure))
        ),
    )


def needs_of(plan: Plan, **more: Any) -> Needs:
    """What a server of that plan says."""
    return Needs(
        plan.request_body,
        plan.response_body,
        plan.max_body_bytes,
        plan.budget,
        tuple(map(str, plan.sockets)),
        hosts=("localhost", "secure.example"),
        namespaces=plan.namespaces,
        injects=True,
        injects_query=True,
        **more,
    )


def per_route(**fields: object) -> dict[str, Any]:
    return {"typed_per_filter_config": {NAME: {"@type": PER_ROUTE, **fields}}}


class Parts:
    """One gateway of several in one Envoy: what belongs to it is called after it."""

    def __init__(self, plan: Plan, name: str) -> None:
        text = json.dumps(bootstrap(plan)["static_resources"])
        for cluster in ("ext_proc", "egress/stub", "egress/secure"):
            for field in ("name", "cluster", "cluster_name"):
                text = text.replace(f'"{field}": "{cluster}"', f'"{field}": "{cluster}@{name}"')
        resources = json.loads(text.replace('"name": "egress"', f'"name": "{name}"'))
        self.name = name
        self.listener = resources["listeners"][0]
        self.clusters = resources["clusters"]
        self.cluster, self.stub, self.secure = self.clusters
        self.manager = self.listener["filter_chains"][0]["filters"][0]["typed_config"]
        self.filters = self.manager["http_filters"]
        self.filter = self.filters[0]["typed_config"]
        self.router = self.filters[1]["typed_config"]
        self.service = self.filter["grpc_service"]
        self.envoy_grpc = self.service["envoy_grpc"]
        self.received = self.filter["metadata_options"]["receiving_namespaces"]["untyped"]
        self.modes = self.filter["processing_mode"]
        self.rules = self.filter["mutation_rules"]
        self.table = self.manager["route_config"]
        self.host = self.table["virtual_hosts"][0]
        self.route = self.host["routes"][0]
        self.action = self.route["route"]
        self.common = self.manager["common_http_protocol_options"]
        self.server_options = self.cluster["typed_extension_protocol_options"][HTTP_OPTIONS]
        self.http2 = self.server_options["explicit_http_config"]["http2_protocol_options"]
        (self.breaker,) = self.cluster["circuit_breakers"]["thresholds"]
        self.options = self.stub["typed_extension_protocol_options"][HTTP_OPTIONS]
        self.each_try = self.options["http_filters"][0]["typed_config"]
        self.try_modes = self.each_try["processing_mode"]
        self.try_metadata = self.each_try["metadata_options"]
        self.tls = self.secure["transport_socket"]["typed_config"]
        self.tls_common = self.tls["common_tls_context"]
        self.certificate = self.tls_common["validation_context"]
        del self.cluster["health_checks"]  # nobody is there
        del self.manager["access_log"]

    def server_at(self, place: dict[str, Any]) -> None:
        """Move the server."""
        self.cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [{"endpoint": {"address": place}}]

    def another_filter(self, name: str, **fields: object) -> dict[str, Any]:
        """A second ext_proc filter like the first one, not yet in the chain."""
        other = copy.deepcopy(self.filters[0])
        other["name"] = name
        other["typed_config"] |= fields
        return other

    def to_the_router(self) -> None:
        """The upstream filter at the router, for all clusters, instead of at each cluster."""
        self.router["upstream_http_filters"] = self.options.pop("http_filters")
        self.secure["typed_extension_protocol_options"][HTTP_OPTIONS].pop("http_filters")
