"""What can be wrong with the ext_proc filter of the first pass."""

from extproc.doctor.finding import Code
from tests.doctor.case import MODES, PASS, Case, Change, having, without
from tests.doctor.parts import Parts


def two_of_ours(g: Parts) -> None:
    g.filters.insert(0, g.another_filter("somebody.called.it.so"))


def hiding(**matcher: object) -> Change:
    """Headers from the server."""
    return having("filter", forward_rules={"disallowed_headers": {"patterns": [matcher]}})


FILTERS: tuple[Case, ...] = (
    Case(Code.FILTER_MISSING, "is not in its chain: requests pass unjudged", lambda g: g.filters.pop(0)),
    Case(Code.FILTER_DISABLED, "it is disabled: requests pass unjudged", lambda g: g.filters[0].update(disabled=True)),
    Case(Code.FILTER_TWICE, "several filters of a route ask the server .somebody.called.it.so, ", two_of_ours),
    Case(
        Code.FILTER_FAILURE_MODE,
        "failure_mode_allow is true: .* set it to false",
        having("filter", failure_mode_allow=True),
    ),
    Case(Code.FILTER_OBSERVING, "observability_mode is true", having("filter", observability_mode=True)),
    Case(Code.FILTER_NO_DENIALS, "no denial reaches the client", having("filter", disable_immediate_response=True)),
    Case(
        Code.FILTER_BODY_EARLY,
        "cannot choose the body modes",
        having("filter", send_body_without_waiting_for_header_response=True),
    ),
    Case(Code.FILTER_STATUS, "status_on_error is not 503", without("filter", "status_on_error")),
    Case(Code.FILTER_STATUS, "status_on_error is not 503.*client", having("filter", status_on_error={"code": "OK"})),
    Case(Code.FILTER_OVERRIDES, "allow_mode_override is not true", without("filter", "allow_mode_override")),
    Case(Code.FILTER_OVERRIDES, "allowed_override_modes narrows", having("filter", allowed_override_modes=[MODES])),
    Case(
        Code.FILTER_ATTRIBUTES,
        "is not told xds.cluster_name",
        lambda g: g.filter["request_attributes"].remove("xds.cluster_name"),
    ),
    Case(
        Code.FILTER_ATTRIBUTES,
        "is not told response.code_details, .* add it to response_attributes",
        without("filter", "response_attributes"),
    ),
    Case(
        Code.FILTER_ATTRIBUTES,
        "is not told source.address",
        lambda g: g.filter["request_attributes"].remove("source.address"),
    ),
    Case(Code.FILTER_METADATA, "add extproc to metadata_options", lambda g: g.received.remove("extproc")),
    Case(
        Code.FILTER_METADATA,
        "what is published in io.example.usage is not accepted",
        lambda g: g.received.remove("io.example.usage"),
    ),
    Case(Code.FILTER_CLAIM, "it sends x-extproc-pass", having("service", initial_metadata=[PASS])),
    Case(Code.FILTER_TIMEOUT, "message_timeout is 0.2 s, .* budget of 0.8 s", without("filter", "message_timeout")),
    Case(Code.FILTER_TIMEOUT, "message_timeout is 0.8 s", having("filter", message_timeout="0.800s")),
    Case(
        Code.FILTER_HEADERS,
        "request_header_mode is SKIP: nothing is judged",
        having("modes", request_header_mode="SKIP"),
    ),
    Case(Code.FILTER_HEADERS, "response_header_mode is SKIP", having("modes", response_header_mode="SKIP")),
    Case(
        Code.FILTER_TRAILERS,
        "trailers reach the destination as the caller sent them",
        without("modes", "request_trailer_mode"),
    ),
    Case(
        Code.FILTER_BODY,
        "request_body_mode is NONE, and an extension reads that body",
        without("modes", "request_body_mode"),
    ),
    Case(
        Code.FILTER_BODY,
        "BUFFERED_PARTIAL, .*refuses; set it to BUFFERED",
        having("modes", request_body_mode="BUFFERED_PARTIAL"),
    ),
    Case(
        Code.FILTER_BODY,
        "STREAMED, which this server refuses; set it to NONE",
        having("modes", response_body_mode="STREAMED"),
    ),
    Case(
        Code.FILTER_FORWARD,
        "hides all headers that it does not list",
        having("filter", forward_rules={"allowed_headers": {"patterns": [{"prefix": "x-"}]}}),
    ),
    Case(Code.FILTER_FORWARD, "hides authorization from", hiding(exact="Authorization", ignore_case=True)),
    Case(
        Code.FILTER_FORWARD,
        "hides x-api-key, x-goog-api-key, x-request-id, x-extproc-peer from",
        hiding(safe_regex={"regex": "x-.*"}),
    ),
    Case(
        Code.FILTER_MUTATIONS,
        "mutation_rules refuse authorization, .* and 14 more.*answered with an error",
        having("rules", disallow_all=True),
    ),
    Case(Code.FILTER_MUTATIONS, "mutation_rules refuse :path:", having("rules", disallow_system=True)),
    Case(
        Code.FILTER_MUTATIONS,
        "mutation_rules refuse cookie: .* left out in silence",
        having("filter", mutation_rules={"disallow_expression": {"regex": "(?i)COOK.e"}}),
    ),
    Case(
        Code.FILTER_MUTATIONS,
        "mutation_rules refuse proxy-authorization, api-key, ocp-apim-subscription-key, cookie and",
        having("rules", disallow_all=True, allow_expression={"regex": "authorization|x-.*|:path"}),
    ),
    Case(Code.FILTER_MUTATIONS_OPEN, "allow_all_routing is true", having("rules", allow_all_routing=True)),
    Case(Code.FILTER_MUTATIONS_OPEN, "allow_envoy is true", having("rules", allow_envoy=True)),
    Case(Code.FILTER_ROUTE_CACHE, "route_cache_action is CLEAR", having("filter", route_cache_action="CLEAR")),
    Case(
        Code.FILTER_MESSAGE_SIZE,
        "max_receive_message_length is 1000000, .* set it to 2162688",
        having("envoy_grpc", max_receive_message_length=1000000),
    ),
)
