"""What can be wrong with a connection manager and its routes."""

from extproc.doctor.finding import Code
from tests.doctor.case import MODES, PASS, Case, Change, having, overridden, without
from tests.doctor.parts import FILTER_CONFIG, NAME, PER_ROUTE, Parts, per_route


def weighted(g: Parts) -> None:
    """Two clusters, of which the second one's requests go around the server."""
    name = g.route["route"].pop("cluster")
    g.route["route"]["weighted_clusters"] = {
        "clusters": [{"name": name, "weight": 1}, {"name": g.secure["name"], "weight": 1, **per_route(disabled=True)}]
    }


def upgrade(g: Parts) -> None:
    g.manager["upgrade_configs"] = [{"upgrade_type": "websocket", "filters": [g.filters[1]]}]


def in_a_matcher(g: Parts) -> None:
    """Routes as a tree, which Envoy takes beside the list."""
    kind = "type.googleapis.com/envoy.config.route.v3.Route"
    route = {"name": "route", "typed_config": {"@type": kind, **g.host.pop("routes")[0]}}
    g.host["matcher"] = {"on_no_match": {"action": route}}


def listed_for_others(g: Parts) -> None:
    """Switched off in the chain, and on for one route of two, as control planes do it."""
    g.filters[0]["disabled"] = True
    g.route["typed_per_filter_config"] = {NAME: {"@type": FILTER_CONFIG, "config": {}}}


def to_a_stranger(g: Parts) -> None:
    service = {"envoy_grpc": {"cluster_name": g.stub["name"]}}
    g.route.update(per_route(overrides={"grpc_service": service}))


LOGGERS = "type.googleapis.com/envoy.extensions.access_loggers"


def logging(text: str) -> Change:
    """An access log with this in its lines."""
    config = {
        "@type": f"{LOGGERS}.stream.v3.StdoutAccessLog",
        "log_format": {"text_format_source": {"inline_string": f"{text}\n"}},
    }
    return having("manager", access_log=[{"name": "envoy.access_loggers.stdout", "typed_config": config}])


def logging_by_default(g: Parts) -> None:
    """In Envoy's own format, which has the path."""
    config = {"@type": f"{LOGGERS}.file.v3.FileAccessLog", "path": "/dev/null"}
    g.manager["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": config}]


def logging_upstream(g: Parts) -> None:
    """A log of the router, of each try."""
    logging("%PATH(NQ)% %REQ(authorization)%")(g)
    g.router["upstream_log"] = g.manager.pop("access_log")


def logging_over_grpc(g: Parts) -> None:
    """An access log that always has the path."""
    service = {"envoy_grpc": {"cluster_name": g.stub["name"]}}
    common = {"log_name": "egress", "transport_api_version": "V3", "grpc_service": service}
    config = {"@type": f"{LOGGERS}.grpc.v3.HttpGrpcAccessLogConfig", "common_config": common}
    g.manager["access_log"] = [{"name": "envoy.access_loggers.http_grpc", "typed_config": config}]


ROUTES: tuple[Case, ...] = (
    Case(Code.MANAGER_ADDRESS, "use_remote_address is not true", without("manager", "use_remote_address")),
    Case(Code.MANAGER_ADDRESS, "xff_num_trusted_hops is 2", having("manager", xff_num_trusted_hops=2)),
    Case(
        Code.MANAGER_BUFFER,
        "is 1048576, .* set it to 2162688 or more",
        without("listener", "per_connection_buffer_limit_bytes"),
    ),
    Case(
        Code.MANAGER_TIMEOUT,
        "stream_idle_timeout is 0.5 s, .* budget of 0.8 s",
        having("manager", stream_idle_timeout="0.5s"),
    ),
    Case(Code.MANAGER_TIMEOUT, "max_stream_duration is 0.8 s", having("common", max_stream_duration="0.8s")),
    Case(Code.MANAGER_UPGRADE, "upgrades to 'websocket' have filters of their own", upgrade),
    Case(
        Code.ROUTE_DISABLED, "host-0, route to-localhost: .* disabled here", having("route", **per_route(disabled=True))
    ),
    Case(
        Code.ROUTE_DISABLED,
        "virtual host host-0: the ext_proc filter is disabled here",
        having("host", **per_route(disabled=True)),
    ),
    Case(
        Code.ROUTE_DISABLED,
        "route table [^,]+: the ext_proc filter is disabled here",
        having("table", **per_route(disabled=True)),
    ),
    Case(
        Code.ROUTE_DISABLED,
        "host-0: the ext_proc filter is disabled",
        having("host", typed_per_filter_config={NAME: {"@type": FILTER_CONFIG, "disabled": True}}),
    ),
    Case(Code.ROUTE_DISABLED, "cluster egress/secure@[^:]+: the ext_proc filter is disabled here", weighted),
    Case(Code.ROUTE_UNCOVERED, "virtual host host-1, route to-secure.example: .* not enabled here", listed_for_others),
    Case(Code.ROUTE_FAILURE_MODE, "failure_mode_allow is true here", overridden(failure_mode_allow=True)),
    Case(Code.ROUTE_SERVER, "another server is asked here", to_a_stranger),
    Case(Code.FILTER_BODY, "route to-localhost: request_body_mode is NONE", overridden(processing_mode=MODES)),
    Case(
        Code.FILTER_METADATA,
        "route to-localhost: .*metadata",
        overridden(metadata_options={"receiving_namespaces": {"untyped": ["io.example.usage"]}}),
    ),
    Case(
        Code.FILTER_METADATA,
        "route to-localhost: what is published in io.example.usage",
        overridden(metadata_options={"receiving_namespaces": {"untyped": ["extproc"]}}),
    ),
    Case(Code.FILTER_CLAIM, "route to-localhost: it sends x-extproc-pass", overridden(grpc_initial_metadata=[PASS])),
    Case(
        Code.ROUTE_UNKNOWN,
        "names 'ext_proc', and no filter is called so",
        having("route", typed_per_filter_config={"ext_proc": {"@type": PER_ROUTE, "disabled": True}}),
    ),
    Case(
        Code.ROUTE_MIRROR,
        "each request is sent to egress/secure@[^ ]+ too",
        lambda g: g.action.update(request_mirror_policies=[{"cluster": g.secure["name"]}]),
    ),
    Case(
        Code.MANAGER_LOG,
        "its access log has authorization: the credential",
        logging("%REQ(x-key?Authorization)% %REQ(X-REQUEST-ID)% %REQ(x-authorization)%"),
    ),
    Case(
        Code.MANAGER_LOG,
        "has ocp-apim-subscription-key, x-api-key: the credential",
        logging("%REQUEST_HEADER(x-api-key):9% %REQUEST_HEADER(Ocp-Apim-Subscription-Key)%"),
    ),
    Case(
        Code.MANAGER_LOG,
        "has authorization, cookie: the credential",
        logging("%CEL(request.headers['authorization'])% %CEL(request.headers.cookie)% %PROTOCOL% cookie"),
    ),
    Case(Code.MANAGER_LOG, "its access log has the path, and in it the credential", logging("%PATH%")),
    Case(Code.MANAGER_LOG, "the path, and in it", logging("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):99% %PATH(NQ:ORIG)%")),
    Case(Code.MANAGER_LOG, "the path, and in it", logging("%QUERY_PARAM(key)%")),
    Case(Code.MANAGER_LOG, "the path, and in it", logging("%CEL(request.path)% %CEL(request.url_path)%")),
    Case(Code.MANAGER_LOG, "the path, and in it", logging_by_default),
    Case(Code.MANAGER_LOG, "the path, and in it", logging_over_grpc),
    Case(Code.MANAGER_LOG, "its access log has authorization: the credential", logging_upstream),
    Case(Code.ROUTE_UNREAD, "its routes are in a matcher", in_a_matcher),
    Case(Code.ROUTE_TIMEOUT, "Envoy ends answers after 15 s", without("action", "timeout")),
    Case(
        Code.ROUTE_TIMEOUT, "route to-localhost: timeout is 0.5 s, .* budget of 0.8 s", having("action", timeout="0.5s")
    ),
    Case(Code.ROUTE_TIMEOUT, "idle_timeout is 0.5 s", having("action", idle_timeout="0.5s")),
    Case(
        Code.ROUTE_TIMEOUT,
        "per_try_timeout is 0.5 s",
        having("action", retry_policy={"retry_on": "5xx", "per_try_timeout": "0.5s"}),
    ),
    Case(Code.ROUTE_BUFFER, "request_body_buffer_limit is 4096", having("route", request_body_buffer_limit=4096)),
)
