"""Which filters a request meets, as this package works it out from the routes, and as a real Envoy does it.

Nobody answers for these filters, and they are open: Envoy counts each that a request meets as one that was passed over.
"""

import http.client
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.doctor.roads import Manager, managers
from extproc.doctor.traffic import values
from tests.doctor.parts import FILTER_CONFIG, PER_ROUTE
from tests.doctor.planes import EXT_PROC, FILTER_CHAIN, HCM, ROUTER
from tests.doctor.real import running, told
from tests.e2e.processes import free_port, short_directory

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

OFF_HERE: Json = {"@type": FILTER_CONFIG, "disabled": True}
ON_HERE: Json = {"@type": FILTER_CONFIG, "config": {}}
NOT_FOR_US: Json = {"@type": PER_ROUTE, "disabled": True}
CHANGED: Json = {"@type": PER_ROUTE, "overrides": {"failure_mode_allow": True}}
WRAPPED: Json = {"@type": FILTER_CONFIG, "config": NOT_FOR_US}


def processor(name: str) -> Json:
    service = {"envoy_grpc": {"cluster_name": "nobody"}}
    return {"@type": EXT_PROC, "grpc_service": service, "failure_mode_allow": True, "stat_prefix": name}


def chain(*names: str) -> Json:
    return {"filters": [{"name": name, "typed_config": processor(name)} for name in names]}


def filled(*names: str) -> Json:
    return {"@type": f"{FILTER_CHAIN}.FilterChainConfigPerRoute", "filter_chain": chain(*names)}


FILTERS = [
    {"name": "on", "typed_config": processor("on")},
    {"name": "off", "disabled": True, "typed_config": processor("off")},
    {
        "name": "some",
        "typed_config": {"@type": f"{FILTER_CHAIN}.FilterChainConfig", "default_filter_chain": chain("a")},
    },
    {"name": "empty", "disabled": True, "typed_config": {"@type": f"{FILTER_CHAIN}.FilterChainConfig"}},
    ROUTER,
]

PLACES: list[tuple[Json, Json]] = [
    ({}, {}),
    ({"on": NOT_FOR_US}, {}),
    ({}, {"on": OFF_HERE, "off": ON_HERE}),
    ({"on": OFF_HERE}, {"on": ON_HERE}),
    ({"on": OFF_HERE}, {"on": CHANGED}),
    ({"on": NOT_FOR_US}, {"on": CHANGED}),
    ({"on": NOT_FOR_US}, {"on": ON_HERE}),
    ({"on": CHANGED}, {"on": WRAPPED}),
    ({"off": CHANGED}, {}),
    ({"off": ON_HERE}, {"off": NOT_FOR_US}),
    ({"off": NOT_FOR_US}, {"off": ON_HERE}),
    ({"off": ON_HERE}, {"off": OFF_HERE}),
    ({"some": filled("b")}, {}),
    ({"some": filled("b")}, {"some": filled("a", "c")}),
    ({"some": filled("b")}, {"some": OFF_HERE}),
    ({"some": OFF_HERE}, {"some": filled("c")}),
    ({"empty": filled("b")}, {}),
    ({"empty": filled("b")}, {"empty": OFF_HERE}),
    ({"a": NOT_FOR_US}, {}),
    ({"a": OFF_HERE}, {}),
    ({"some": filled("b"), "b": NOT_FOR_US}, {"a": OFF_HERE}),
]
"""What a virtual host says, and its route."""


@pytest.fixture(scope="module")
def envoy() -> Iterator[tuple[Manager, Path, int]]:
    hosts = [
        {
            "name": f"host-{number}",
            "domains": [f"host-{number}.example"],
            "typed_per_filter_config": of_host,
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "nobody"}, "typed_per_filter_config": of_route}],
        }
        for number, (of_host, of_route) in enumerate(PLACES)
    ]
    config = {"@type": HCM, "stat_prefix": "roads", "http_filters": FILTERS, "route_config": {"virtual_hosts": hosts}}
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}
    port = free_port()
    place = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    resources = {
        "listeners": [{"name": "roads", "address": place, "filter_chains": [{"filters": [manager]}]}],
        "clusters": [{"name": "nobody", "type": "STATIC", "connect_timeout": "1s"}],
    }
    with short_directory() as directory, running({"static_resources": resources}, directory) as admin:
        (found,) = managers(told(admin).dump)
        yield found, admin, port


def passed_over(admin: Path) -> Counter[str]:
    """By the name of the filter."""
    counts = Counter[str]()
    for name, count in values(told(admin).stats).items():
        if name.endswith(".failure_mode_allowed"):
            counts[name.split(".")[-2]] += int(count)
    return counts


@pytest.mark.parametrize("number", range(len(PLACES)))
def test_a_request_meets_the_filters_that_are_worked_out(envoy: tuple[Manager, Path, int], number: int) -> None:
    manager, admin, port = envoy
    before = passed_over(admin)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/", headers={"host": f"host-{number}.example"})
    assert connection.getresponse().status == 503
    connection.close()
    met = sorted((passed_over(admin) - before).elements())
    (road,) = (each for each in manager.roads if f"host-{number}," in each.where)
    assert sorted(one.name for one in manager.met(road)) == met
