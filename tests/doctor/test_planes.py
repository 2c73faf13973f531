"""What control planes configure over xDS: nothing is found where it is right, and what is wrong is found where it is."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from extproc.doctor.examine import of_envoy
from extproc.doctor.tree import Json
from tests.certificates import Authority
from tests.doctor.planes import (
    CHAIN,
    DESTINATION,
    EXT_PROC,
    FILTER_CONFIG,
    Plane,
    envoy_gateway,
    envoy_gateway_filter_chain,
    filled,
    istio,
    needs,
    processor,
)
from tests.doctor.real import running, told
from tests.e2e.processes import short_directory, wait_until

pytestmark = pytest.mark.e2e

Make = Callable[[Path, Path], Plane]
Spoil = Callable[[Plane], object]


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path


def found(make: Make, directory: Path, spoil: Spoil = lambda _: None) -> list[str]:
    """What the doctor says of an Envoy that got this."""
    plane = make(directory, Authority(directory).file)
    spoil(plane)
    with running(plane.bootstrap(), directory) as admin:
        wait_until(lambda: len(told(admin).dump.listeners) == len(plane.listeners))
        answers = told(admin)
    return [str(each) for each in of_envoy("Envoy", answers.dump, answers.stats, needs(directory / "extproc.sock"))]


@pytest.mark.parametrize("make", [envoy_gateway, envoy_gateway_filter_chain, istio])
def test_nothing_is_found_where_it_is_right(make: Make, directory: Path) -> None:
    assert found(make, directory) == []


def another_route(plane: Plane) -> None:
    """That no policy is attached to."""
    other = {"name": "httproute/other", "match": {"prefix": "/"}, "route": {**plane.route["route"]}}
    plane.host["routes"].append(other)


def on_its_own(plane: Plane) -> None:
    """The filter by ECDS, and then one that is open."""
    one = plane.filters[1]
    plane.extensions.append(
        {"name": one["name"], "typed_config": {**one.pop("typed_config"), "failure_mode_allow": True}}
    )
    one["config_discovery"] = {"config_source": plane.source("ecds"), "type_urls": [EXT_PROC]}


def replaced(plane: Plane) -> None:
    """A route's own filter takes the place of its virtual host's, as a policy at an HTTPRoute does in Envoy Gateway."""
    own = {**processor("envoyextensionpolicy/egress/extproc/0"), "failure_mode_allow": True}
    switched_off = {f"{CHAIN}.listener": {"@type": FILTER_CONFIG, "disabled": True}}
    plane.route["typed_per_filter_config"] = {**switched_off, **filled("route", "envoy.filters.http.ext_proc/0", own)}


def emptied(plane: Plane) -> None:
    """A policy that has nothing left, which suppresses the Gateway's: exactly what nobody sees."""
    plane.route["typed_per_filter_config"] = {f"{CHAIN}.listener": {"@type": FILTER_CONFIG, "disabled": True}}


def at_the_gateway_too(plane: Plane) -> None:
    """A route asks the server again."""
    plane.route["typed_per_filter_config"] = filled(
        "route", "envoy.filters.http.ext_proc/0", processor("envoyextensionpolicy/egress/extproc/0")
    )


def unverified(plane: Plane) -> None:
    """The authority alone, without a name."""
    (destination,) = (one for one in plane.clusters if one["name"] in DESTINATION.values())
    combined = destination["transport_socket"]["typed_config"]["common_tls_context"]["combined_validation_context"]
    combined["default_validation_context"] = {}


def processing_mode(plane: Plane) -> Json:
    """Of the first filter that is ours."""
    return next(one["typed_config"] for one in plane.filters if "ext_proc" in one["name"])["processing_mode"]


@pytest.mark.parametrize(
    ("make", "spoil", "sentence"),
    [
        (envoy_gateway, lambda p: processing_mode(p).pop("request_trailer_mode"), r"extproc/0: request_trailer_mode is not"),
        (envoy_gateway, lambda p: p.route.pop("typed_per_filter_config"), "it is disabled: requests pass unjudged"),
        (envoy_gateway, another_route, r"route httproute/other: .* not enabled here"),
        (envoy_gateway, lambda p: p.listeners[0].pop("per_connection_buffer_limit_bytes"), "is 1048576, .* are read"),
        (envoy_gateway, lambda p: p.route["route"].pop("timeout"), "Envoy ends answers after 15 s"),
        (envoy_gateway_filter_chain, emptied, "route httproute/egress/openai/[^ ]+: the ext_proc filter is disabled here"),
        (envoy_gateway_filter_chain, replaced, "api_openai_com, filter envoy.filters.http.ext_proc/0: failure_mode_allow"),
        (envoy_gateway_filter_chain, at_the_gateway_too, "several filters of a route ask the server"),
        (istio, on_its_own, "listener 0.0.0.0_8080, filter extproc.egress: failure_mode_allow is true"),
        (istio, unverified, "trusts every certificate of its authority, whatever name is in it"),
        (istio, lambda p: p.filters.pop(1), "listener 0.0.0.0_8080: the ext_proc filter is not in its chain"),
        (istio, lambda p: p.host.update(domains=["llm.internal"]), "host api.openai.com: a policy covers it, and no route"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(make: Make, spoil: Spoil, sentence: str, directory: Path) -> None:
    [line] = found(make, directory, spoil)
    assert re.search(sentence, line), line
