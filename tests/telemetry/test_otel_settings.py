"""What the environment asks for; and what it cannot have is told before anything opens."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from extproc.errors import ConfigError
from extproc.telemetry.otel import Wanted, connect, wanted
from tests.e2e.gateway import AUTHN, policy, tokens, write
from tests.e2e.processes import short_directory

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
DEFAULTS = Wanted(True, True, 5.0, 60.0, 2048, 512)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SERVICE_NAME": "extproc"},
        {**HERE, "OTEL_SDK_DISABLED": "TRUE"},
        {**HERE, "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_nothing_is_wanted(environ: dict[str, str]) -> None:
    assert wanted(environ) is None


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        (HERE, True, True),
        ({**HERE, "OTEL_TRACES_EXPORTER": "none"}, False, True),
        ({**HERE, "OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "otlp"}, True, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://[::1]/v1/traces"}, True, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector/x"}, False, True),
        ({**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True, True),
        (
            {**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
             "OTEL_METRICS_EXPORTER": "none"},
            True,
            False,
        ),
    ],
)  # fmt: skip
def test_each_signal_has_its_own_variables(environ: dict[str, str], traces: bool, metrics: bool) -> None:
    found = wanted(environ)
    assert found == Wanted(traces, metrics, 5.0, 60.0, 2048, 512)


def test_how_often_and_how_much_can_be_said() -> None:
    found = wanted(
        {
            **HERE,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "1500",
            "OTEL_BSP_MAX_QUEUE_SIZE": "7",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "3",
        }
    )
    assert found == Wanted(True, True, 0.1, 1.5, 7, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "otlp,console"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://user:sk-canary@collector"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:sk-canary"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "9" * 5000),
        ("OTEL_METRIC_EXPORT_INTERVAL", "\u0663"),
    ],
)
def test_what_cannot_be_had_is_named_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        wanted({**HERE, name: value})
    assert name in str(caught.value)
    assert "sk-canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT"])
def test_what_the_sdk_refuses_is_an_error_of_the_configuration(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "many")
    with pytest.raises(ConfigError, match=f"^OpenTelemetry: {name} must be a non-negative integer"):
        connect(HERE, CollectorRegistry(), "egress/egress")


def test_packages_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    with pytest.raises(ConfigError, match=r"pip install 'extproc\[otel\]'"):
        wanted(HERE)
    assert wanted({}) is None


@pytest.mark.parametrize("command", ["serve", "run"])
def test_a_server_that_cannot_export_as_it_is_told_does_not_start(command: str) -> None:
    with short_directory() as directory:
        config = write(directory, [policy(AUTHN)], {"secretSources": {}})
        (directory / "tokens").write_text(tokens())
        ended = refused(command, config)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is spoken here")


def refused(command: str, config: Path) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "extproc", command, "--config", str(config)]
    environ = {**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=30, check=False)
