"""What Envoy counted, and what it means. That it counts so is in `e2e`."""

import pytest

from extproc.doctor.finding import Code
from extproc.doctor.traffic import of_overflow, of_stats, values


@pytest.mark.parametrize(
    ("stats", "code", "problem"),
    [
        ({"http.egress.ext_proc.streams_started": 9, "http.egress.ext_proc.server_half_closed": 0}, None, ""),
        ({"http.egress.ext_proc.server_half_closed": 3, "http.egress.ext_proc.streams_failed": 3}, None, ""),
        (
            {"http.a.ext_proc.server_half_closed": 3, "http.b.ext_proc.streams_failed": 3},
            Code.TRAFFIC_ENDED,
            "3 exchanges may",
        ),
        (
            {"http.a.ext_proc.server_half_closed": 3, "http.a.ext_proc.streams_failed": 1},
            Code.TRAFFIC_ENDED,
            "2 exchanges may",
        ),
        ({"http.egress.ext_proc.own.failure_mode_allowed": 1}, Code.TRAFFIC_UNJUDGED, "1 exchanges passed unjudged"),
        ({"cluster.egress/a.ext_proc.failure_mode_allowed": 1}, Code.TRAFFIC_UNJUDGED, "1 exchanges passed unjudged"),
    ],
)
def test_what_went_around_the_server(stats: dict[str, float], code: Code | None, problem: str) -> None:
    told = {"stats": [{"name": name, "value": value} for name, value in stats.items()] + [{"histograms": {}}]}
    found = [(one.code, problem in one.problem) for one in of_stats(values(told))]
    assert found == ([(code, True)] if code else [])


@pytest.mark.parametrize("around", [".ext_proc.", ".ssl.certificate."])
def test_a_name_without_end_is_not_looked_at(around: str) -> None:
    """Whoever answers in Envoy's place keeps nobody waiting."""
    name = "cluster.x" + around * 100_000
    counted = values({"stats": [{"name": name, "value": 1}, {"name": "short", "value": 2}]})
    assert counted == {"short": 2}


@pytest.mark.parametrize(
    ("name", "cluster", "counted"),
    [
        ("ext_proc", {}, "ext_proc"),
        ("outbound|9443||extproc:8080", {}, "outbound|9443||extproc_8080"),
        ("ext_proc", {"alt_stat_name": "policy"}, "policy"),
    ],
)
def test_a_circuit_breaker_that_was_full(name: str, cluster: dict[str, str], counted: str) -> None:
    stats = {
        f"cluster.{counted}.upstream_rq_pending_overflow": 2.0,
        f"cluster.{counted}.upstream_rq_active_overflow": 1.0,
    }
    [found] = of_overflow(stats, name, cluster)
    assert found.code is Code.TRAFFIC_OVERFLOW
    assert found.problem.startswith("3 exchanges were answered with an error")
    assert list(of_overflow({"cluster.other.upstream_rq_pending_overflow": 2}, name, cluster)) == []
