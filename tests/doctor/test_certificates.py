"""What the doctor says of certificates: the server's as its status tells of them, Envoy's as it counts them."""

from typing import Any

import pytest

from extproc.doctor.certificates import of_envoys, of_listeners
from extproc.doctor.finding import Code

NOW = 1_800_000_000.0  # 15 January 2027, 08:00 UTC
ADDRESS = "0.0.0.0:9443"


def dates(begins: str, ends: str) -> dict[str, str]:
    return {"notBefore": f"2027-01-{begins}Z", "notAfter": f"2027-01-{ends}Z"}


def status(found: object) -> dict[str, Any]:
    return {"certificates": {ADDRESS: found}}


@pytest.mark.parametrize(
    ("found", "code", "text"),
    [
        (dates("01T00:00:00", "15T07:59:00"), Code.SERVER_CERTIFICATE, "has ended on 2027-01-15 07:59 UTC"),
        (dates("15T08:01:00", "20T00:00:00"), Code.SERVER_CERTIFICATE, "begins only on 2027-01-15 08:01 UTC"),
        (None, Code.SERVER_CERTIFICATE, "its certificate cannot be read"),
        ({"notBefore": "soon", "notAfter": 7}, Code.SERVER_CERTIFICATE, "its certificate cannot be read"),
        (
            dict.fromkeys(("notBefore", "notAfter"), "9999-12-31T23:59:59-23:59"),
            Code.SERVER_CERTIFICATE,
            "its certificate cannot be read",
        ),
        (dates("05T08:00:00", "16T07:00:00"), Code.SERVER_CERTIFICATE_ENDS, "ends on 2027-01-16 07:00 UTC"),
        (dates("14T23:00:00", "15T08:59:00"), Code.SERVER_CERTIFICATE_ENDS, "ends on 2027-01-15 08:59 UTC"),
    ],
    ids=["ended", "not begun", "unreadable", "nonsense", "no time at all", "days", "hours"],
)
def test_one_that_is_not_good_for_long(found: object, code: Code, text: str) -> None:
    [finding] = of_listeners(status(found), NOW)
    assert (finding.code, finding.where) == (code, f"listener {ADDRESS} of the server")
    assert text in finding.problem


@pytest.mark.parametrize("found", [dates("05T08:00:00", "17T08:00:00"), dates("15T04:00:00", "15T09:00:00")])
def test_one_that_is_good_for_long_enough(found: object) -> None:
    assert list(of_listeners(status(found), NOW)) == []


def test_each_worker_says_it_of_its_own() -> None:
    told = {"workers": {"0": status(None), "1": status(dates("05T08:00:00", "25T08:00:00")), "2": None}}
    assert [one.code for one in of_listeners(told, NOW)] == [Code.SERVER_CERTIFICATE]


def test_a_server_that_does_not_speak_of_certificates() -> None:
    assert list(of_listeners({"certificates": ["x"]}, NOW)) == []


def test_those_of_envoy_that_have_ended() -> None:
    name = "{}.ssl.certificate.unnamed_cert_1.expiration_unix_time_seconds"
    counted = {
        name.format("cluster.egress/a.b"): NOW - 60,
        name.format("cluster.egress/c"): NOW + 60,
        name.format("listener.0.0.0.0_10000"): NOW - 3600,
        name.format("cluster.none"): 0.0,
        "server.days_until_first_cert_expiring": 0.0,
    }
    found = list(of_envoys(counted, NOW))
    assert [(one.code, one.where) for one in found] == [
        (Code.TLS_ENDED, "cluster egress/a.b"),
        (Code.TLS_ENDED, "listener 0.0.0.0_10000"),
    ]
    assert "unnamed_cert_1 has ended on 2027-01-15 07:59 UTC" in found[0].problem
