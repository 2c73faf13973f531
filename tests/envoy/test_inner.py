"""The configuration of an Envoy that runs the server: who reaches it, and that there is one application."""

import re
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from extproc.envoy import python
from extproc.envoy.bootstrap import bootstrap, text
from extproc.envoy.inner import POLICY, secrets, server, where
from extproc.envoy.inprocess import inprocess
from extproc.envoy.python import APP, interpreter, module, shell, started_with
from extproc.errors import ConfigError
from extproc.wire.listener import Listener, Tls
from tests.envoy.test_bootstrap import cluster, plan

SOCKET = Listener("unix:///run/extproc/extproc.sock")
LOOP = Listener("localhost:9000", insecure=True)
MUTUAL = Listener(
    "0.0.0.0:9001",
    Tls(Path("/tls/tls.crt"), Path("/tls/tls.key"), Path("/ca/ca.crt"), ("gateway.example", "spiffe://cluster/a+b")),
)


def managers(config: Any) -> list[Any]:
    """The HTTP connection managers."""
    chains = [chain for listener in config["static_resources"]["listeners"] for chain in listener["filter_chains"]]
    found = [each["typed_config"] for chain in chains for each in chain["filters"]]
    return [each for each in found if "HttpConnectionManager" in each["@type"]]


def applications(config: Any) -> list[Any]:
    """What each dynamic module of the configuration is told."""
    filters = [each["typed_config"] for manager in managers(config) for each in manager["http_filters"]]
    modules = [each for each in filters if "DynamicModuleFilter" in each["@type"]]
    return [orjson.loads(each["filter_config"]["value"]) for each in modules]


@pytest.mark.parametrize("listeners", [[SOCKET], [MUTUAL], [SOCKET, LOOP], [SOCKET, LOOP, MUTUAL]])
def test_there_is_one_application_however_many_listeners(listeners: list[Listener], tmp_path: Path) -> None:
    config: Any = server(listeners, tmp_path)
    [told] = applications(config)
    assert (told["app"], told["worker_threads"]) == (APP, 1)
    outer = [each for each in config["static_resources"]["listeners"] if "address" in each]
    assert len(outer) == len(listeners)
    inside = [each for each in config["static_resources"]["listeners"] if "internal_listener" in each]
    assert len(inside) == (len(listeners) > 1)
    assert ("bootstrap_extensions" in config) is bool(inside)


def test_resets_are_no_offence_and_silence_ends_nothing(tmp_path: Path) -> None:
    [manager] = managers(server([SOCKET], tmp_path))
    assert manager["http2_protocol_options"]["use_oghttp2_codec"] is True
    assert (manager["codec_type"], manager["stream_idle_timeout"]) == ("HTTP2", "0s")


def test_where_it_listens(tmp_path: Path) -> None:
    config: Any = server([SOCKET, LOOP, MUTUAL], tmp_path)
    first, second, third, _ = config["static_resources"]["listeners"]
    assert first["address"]["pipe"] == {"path": "/run/extproc/extproc.sock", "mode": 0o660}
    assert second["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9000}
    assert third["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 9001}
    assert not any(each["enable_reuse_port"] for each in (first, second, third))
    assert ["transport_socket" in each["filter_chains"][0] for each in (first, second, third)] == [False, False, True]


def test_a_name_is_no_place_to_listen() -> None:
    with pytest.raises(ConfigError, match="addresses, not on names"):
        where(Listener("gateway.example:9000", insecure=True))


def test_a_client_needs_a_certificate_with_one_of_the_names(tmp_path: Path) -> None:
    config: Any = server([MUTUAL], tmp_path)
    [listener] = config["static_resources"]["listeners"]
    tls = listener["filter_chains"][0]["transport_socket"]["typed_config"]
    assert tls["require_client_certificate"] is True
    [own] = tls["common_tls_context"]["tls_certificate_sds_secret_configs"]
    clients = tls["common_tls_context"]["validation_context_sds_secret_config"]
    files: Any = secrets([MUTUAL])
    paths = [Path(each["sds_config"]["path_config_source"]["path"]) for each in (own, clients)]
    assert paths == [tmp_path / name for name in files]
    [told] = files[paths[1].name]["resources"]
    context = told["validation_context"]
    names = [
        (each["san_type"], each["matcher"]["safe_regex"]["regex"]) for each in context["match_typed_subject_alt_names"]
    ]
    assert [kind for kind, _ in names] == ["DNS", "URI"]
    assert [bool(re.fullmatch(pattern, name)) for _, pattern in names for name in MUTUAL.tls.allowed_clients] == [  # type: ignore[union-attr]
        True, False, False, True,
    ]  # fmt: skip
    assert not re.fullmatch(names[0][1], "gatewayxexample")


def test_files_of_certificates_are_named_and_not_copied() -> None:
    assert secrets([SOCKET, LOOP]) == {}
    own: Any = secrets([MUTUAL])["outer-0-own.json"]
    assert own["resources"][0]["tls_certificate"]["private_key"] == {"filename": "/tls/tls.key"}


def test_in_process_only_the_way_to_the_server_is_another() -> None:
    sidecar: Any = bootstrap(plan())
    config: Any = inprocess(plan())
    assert config["static_resources"]["listeners"][:-1] == sidecar["static_resources"]["listeners"]
    assert config["static_resources"]["clusters"][1:] == sidecar["static_resources"]["clusters"][1:]
    others = {name for name in config if config[name] != sidecar.get(name)}
    assert others == {"bootstrap_extensions", "static_resources", "application_log_config"}
    found = cluster(config, "ext_proc")
    [endpoints] = found["load_assignment"]["endpoints"]
    [endpoint] = endpoints["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["envoy_internal_address"]["server_listener_name"]
    assert address == config["static_resources"]["listeners"][-1]["name"] == POLICY
    assert "health_checks" not in found
    assert len(applications(config)) == 1
    assert yaml.safe_load(text(config)) == config


def test_envoy_has_the_modules_and_the_library_of_this_python() -> None:
    environment = interpreter()
    assert [path for path in sys.path if path.startswith("/")] == environment["PYTHONPATH"].split(":")
    assert all(path.startswith("/") for path in environment["PYTHONPATH"].split(":"))
    assert Path(environment["LD_PRELOAD"]).name.startswith("libpython3")
    assert started_with({"A": "b c"}, ["envoy"]) == ("env", "A=b c", "envoy")
    assert shell({"A": "b c", "D": "e"}) == "A='b c' D=e"


def test_without_pyvoy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module().name.startswith("_pyvoy")
    monkeypatch.setattr(python.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="install pyvoy"):
        module()
