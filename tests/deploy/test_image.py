"""The container image, without a container: its file is read, and what it installs is run as it says, by nobody in particular
and from a tree that cannot be written. `EXTPROC_IMAGE=full` installs all dependencies as the image does (a minute); without it
they are those of this environment, and the package alone is the built one.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.packaging import (
    FULL,
    NOBODY,
    Installed,
    identity,
    older,
    packages,
    python,
    shared,
    sources,
    steps,
    the,
    wheel,
)
from tests.deploy.rendered import DEPLOY, ROOT, run
from tests.e2e.processes import free_port, short_directory, wait_until

SYSTEM = frozenset(
    {
        "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6",
        "libpthread.so.0", "librt.so.1", "libstdc++.so.6", "libutil.so.1", "libz.so.1",
    }
)  # fmt: skip
"""Libraries of the image beside Python's own: those of distroless' `cc`."""


def test_the_last_stage_runs_nothing_and_is_nobodys() -> None:
    _, build, final = steps()
    assert [word for word, _ in build] == ["FROM", "RUN", "WORKDIR", "COPY", "COPY", "COPY", "COPY", "COPY", "RUN"]
    assert {word for word, _ in final} == {
        "FROM",
        "COPY",
        "ENV",
        "USER",
        "WORKDIR",
        "EXPOSE",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    }
    assert the(final, "USER") == f"{NOBODY}:{NOBODY}"
    assert json.loads(the(final, "ENTRYPOINT")) == ["/usr/bin/python3", "-m", "extproc"]
    assert json.loads(the(final, "HEALTHCHECK").partition("CMD ")[2])[0] == "/usr/bin/python3"


def test_the_images_are_named_with_their_versions() -> None:
    named = dict(rest.split("=", 1) for word, rest in steps()[0] if word == "ARG")
    assert named.keys() == {"BUILD", "BASE"}
    assert re.fullmatch(r"docker\.io/library/debian:12\.\d+-slim", named["BUILD"])
    assert named["BASE"] == "gcr.io/distroless/python3-debian12:nonroot"  # has no versions but Debian's
    assert [the(stage, "FROM") for stage in steps()[1:]] == ["${BUILD} AS build", "${BASE}"]


def test_everything_that_is_copied_exists_and_is_not_ignored() -> None:
    sources = [source for word, rest in steps()[1] if word == "COPY" for source in rest.split()[:-1]]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    allowed = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    assert allowed[0] == "*"
    assert sorted(line[1:] for line in allowed if line.startswith("!")) == sorted(sources)


def test_the_wheel_holds_every_module_and_the_data() -> None:
    expected = {
        str(Path(package) / path.relative_to(root))
        for package, root in (("extproc", sources() / "src" / "extproc"), ("extproc_filters", sources() / "filters"))
        for path in root.rglob("*")
        if path.suffix in (".py", ".lua") or path.name == "py.typed"
    }
    with zipfile.ZipFile(wheel()) as archive:
        names = set(archive.namelist())
        (points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert expected - names == set()
    assert {name for name in names if not name.startswith(("extproc/", "extproc_filters/", "extproc-"))} == set()
    assert "extproc = extproc.__main__:main" in points
    assert "extproc_filters.pii.presidio:Presidio" in points


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    """Nobody can write into it, root aside."""
    folder = sources().parent / "app"
    if FULL:
        subprocess.run(
            ["sh", DEPLOY / "install.sh", folder], check=True, timeout=600, env={**os.environ, "PYTHON": python()}
        )
    else:
        argv = [
            sys.executable,
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "install",
            "--no-deps",
            "--no-index",
        ]
        run([*argv, "--target", folder, wheel()])
        if other := older():
            run([*argv[:-1], "--target", folder, other])
    sources().parent.chmod(0o755)
    run(["chmod", "-R", "a+rX,a-w", folder])
    yield Installed(folder)
    run(["chmod", "-R", "u+w", folder])


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """The quickstart's, where nobody can read it."""
    with short_directory() as folder:
        shutil.copytree(ROOT / "examples" / "quickstart", folder / "config")
        text = (folder / "config" / "extproc.yaml").read_text()
        (folder / "run").mkdir(mode=0o750)
        if identity():
            os.chown(folder / "run", NOBODY, NOBODY)
        text = re.sub(
            r"^listen: .*$", f'listen: [{{address: "unix://{folder}/run/extproc.sock"}}]', text, flags=re.MULTILINE
        )
        text = re.sub(r"^admin: .*\n", "", text, flags=re.MULTILINE)
        (folder / "config" / "extproc.yaml").write_text(text)
        run(["chmod", "-R", "a+rX", folder / "config"])
        folder.chmod(0o755)
        yield folder / "config" / "extproc.yaml"


def test_it_is_the_installed_one_that_answers(installed: Installed) -> None:
    code = "import extproc, extproc_filters; print(extproc.__file__, extproc_filters.__file__)"
    argv = [one for one in installed.argv if one not in ("-m", "extproc")]
    where = run([*argv, "-c", code], env=installed.environ, cwd="/", **identity()).split()
    assert [path.startswith(str(installed.folder)) for path in where] == [True, True]


def test_the_commands_work(installed: Installed, config: Path) -> None:
    assert "inject-credentials" in installed.said("check", "--config", config)
    assert "static_resources" in installed.said("envoy", "--config", config)


def test_it_serves_until_it_is_told_to_end(installed: Installed, config: Path, tmp_path: Path) -> None:
    admin = f"127.0.0.1:{free_port()}"
    argv = [*installed.argv, "serve", "--config", str(config), "--admin", admin]
    code = json.loads(the(steps()[2], "HEALTHCHECK").partition("CMD ")[2])[2].replace("9090", admin.partition(":")[2])

    def healthy() -> bool:
        assert process.poll() is None, log.read_text()
        return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0

    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output, env=installed.environ, cwd="/", **identity())
    try:
        wait_until(healthy)
        assert (config.parents[1] / "run" / "extproc.sock").is_socket()
    finally:
        process.send_signal(signal.SIGTERM)
        ended = process.wait(20)
    assert ended == 0, log.read_text()


@pytest.mark.skipif(not shutil.which("readelf"), reason="there is no readelf: apt-get install binutils")
def test_every_library_that_is_needed_is_in_the_image(installed: Installed) -> None:
    """The locked packages bring their own, or need what distroless' Python is made of."""
    libraries = [*installed.folder.rglob("*.so*")] if FULL else [path for one in packages() for path in shared(one)]
    told = run(["readelf", "--dynamic", "--wide", *libraries])
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", told))
    assert libraries
    assert needed - {path.name for path in libraries} - SYSTEM == set()
