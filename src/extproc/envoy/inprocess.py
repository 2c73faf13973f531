"""The gateway's own Envoy with the server inside: one process, and no socket between the two."""

from extproc.envoy.bootstrap import bootstrap
from extproc.envoy.inner import INTERNAL, LOG, endpoint, internal
from extproc.envoy.plan import Json, Plan
from extproc.envoy.processor import EXT_PROC


def inprocess(plan: Plan) -> Json:
    """The bootstrap of `plan`, whose ext_proc filter asks the application in the same Envoy.

    Raises:
        ConfigError: the plan asks for what a generated configuration cannot give, or there is no Python for it.
    """
    config = bootstrap(plan)
    resources = config["static_resources"]
    assert isinstance(resources, dict)  # noqa: S101 - as `bootstrap` makes it
    clusters = [_inside(cluster) if cluster["name"] == EXT_PROC else cluster for cluster in resources["clusters"]]
    static = {**resources, "listeners": [*resources["listeners"], internal()], "clusters": clusters}
    return {**config, "bootstrap_extensions": [INTERNAL], "static_resources": static, "application_log_config": LOG}


def _inside(cluster: Json) -> Json:
    """The cluster of the ext_proc server, which is never somewhere else: there is no health to check."""
    kept = {name: value for name, value in cluster.items() if name != "health_checks"}
    return {**kept, "load_assignment": {"cluster_name": EXT_PROC, "endpoints": [{"lb_endpoints": [endpoint()]}]}}
