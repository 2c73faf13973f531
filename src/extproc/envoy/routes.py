"""Routes: the virtual hosts of the plan, and a catch-all, so that every request meets the ext_proc server."""

from typing import Final

from extproc.envoy.plan import Json, Match, Plan, Retry, Rule, VirtualHost

DENIED: Final[Json] = {"direct_response": {"status": 403}}
"""Reached only if the ext_proc server let a request pass that has no destination; its body is `replies`' affair."""

INSIDE: Final = (
    "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip", "forwarded", "via",
    "x-envoy-external-address", "x-envoy-internal",
)  # fmt: skip
"""Headers that would tell the destination who and where the caller is."""

HELD: Final = 64 * 1024 * 1024
"""Bytes of a body that nobody reads and Envoy may hold. Until its headers are answered it holds whatever comes, however fast
that is, and what is too much becomes a 413 or a 500 (Envoy 1.40 buffers here without telling the sender to wait).
"""

STEERING: Final = (
    "alt-svc", "x-envoy-degraded", "x-envoy-immediate-health-check-fail", "x-envoy-overloaded", "x-envoy-ratelimited",
)  # fmt: skip
"""Headers by which a destination would lead clients around the gateway (RFC 7838: `alt-svc` names another place to ask, where
the workload's own token would go), or have a proxy between them believe that the gateway fails."""


def route_configuration(plan: Plan) -> Json:
    """The whole table."""
    hosts = [_virtual_host(f"host-{index}", host) for index, host in enumerate(plan.hosts)]
    nobody = {"name": "no-backend", "domains": ["*"], "routes": [_nowhere()]}
    return {
        "name": "egress",
        "virtual_hosts": [*hosts, nobody],
        "request_headers_to_remove": list(INSIDE),
        "response_headers_to_remove": list(STEERING),
    }


def _virtual_host(name: str, host: VirtualHost) -> Json:
    return {"name": name, "domains": list(host.domains), "routes": [*map(_route, host.rules), _nowhere()]}


def _nowhere() -> Json:
    return {"name": "no-backend", "match": {"prefix": "/"}, **DENIED}


def _route(rule: Rule) -> Json:
    if not rule.destinations:
        return {"name": rule.name, "match": _match(rule.match), **DENIED}
    held = {"request_body_buffer_limit": HELD} if rule.unread else {}
    return {"name": rule.name, "match": _match(rule.match), "route": _action(rule), **held}


def _action(rule: Rule) -> Json:
    """No timeout for the whole answer: a model may speak for minutes. What hangs is ended by the idle timeout."""
    always = {"timeout": "0s", **({"retry_policy": _retry(rule.retry)} if rule.retry else {})}
    if rule.fallback:
        return {"cluster": rule.fallback, "auto_host_rewrite": True, **always}
    if len(rule.destinations) == 1:
        upstream = rule.destinations[0][0]
        return {"cluster": upstream.cluster, "host_rewrite_literal": upstream.authority, **always}
    clusters = [
        {"name": upstream.cluster, "weight": weight, "host_rewrite_literal": upstream.authority}
        for upstream, weight in rule.destinations
    ]
    return {"weighted_clusters": {"clusters": clusters}, **always}


def _retry(retry: Retry) -> Json:
    """A try that reached nobody is always one more; of answers only those with the codes that are listed."""
    on = [
        "connect-failure",
        "refused-stream",
        "reset-before-request",
        *(["retriable-status-codes"] if retry.codes else []),
    ]
    policy: dict[str, object] = {"retry_on": ",".join(on), "num_retries": retry.attempts}
    if retry.codes:
        policy["retriable_status_codes"] = list(retry.codes)
    if retry.backoff is not None:
        longest = f"{10 * retry.backoff:g}s"
        policy["retry_back_off"] = {"base_interval": f"{retry.backoff:g}s", "max_interval": longest}
    return policy


def _match(match: Match) -> Json:
    headers = [{"name": name, "string_match": {"exact": value}} for name, value in match.headers]
    if match.method:
        headers.append({"name": ":method", "string_match": {"exact": match.method}})
    query = [{"name": name, "string_match": {"exact": value}} for name, value in match.query]
    return {
        **_path(match),
        **({"headers": headers} if headers else {}),
        **({"query_parameters": query} if query else {}),
    }


def _path(match: Match) -> Json:
    if match.exact:
        return {"path": match.exact}
    prefix = match.prefix.rstrip("/")
    return {"path_separated_prefix": prefix} if prefix else {"prefix": "/"}
