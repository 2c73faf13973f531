"""What this is built of: every dependency is fixed and known, and what looks for danger would find it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from tools import audit
from tools.fits import misfits, wanted
from tools.lock import DEV, LOCKS, PROJECT, ROOT, Lock, command
from tools.pins import pins
from tools.sbom import Unlike, bill, deployed

FIXED = "aiohttp==3.14.5 \\\n    --hash=sha256:" + "0" * 64 + "\n    # via extproc\n"
BAD = {"id": "PYSEC-2021-142", "aliases": ["CVE-2020-14343"], "summary": "it loads what it should not"}


@pytest.fixture(params=LOCKS, ids=lambda lock: lock.name)
def lock(request: pytest.FixtureRequest) -> Lock:
    found: Lock = request.param
    return found


def test_a_lock_fits_what_is_asked_for(lock: Lock) -> None:
    assert misfits(lock, wanted(lock)) == []


def test_a_lock_has_hashes_and_no_address(lock: Lock) -> None:
    """`pins` raises for a line that is anything but a pin with its hashes."""
    found = list(pins(ROOT / lock.path))
    assert found
    assert min(pin.hashes for pin in found) > 0
    assert "://" not in (ROOT / lock.path).read_text()


def test_what_is_tested_is_what_is_fixed() -> None:
    fixed = {pin.name: pin.version for pin in pins(ROOT / DEV.path) if pin.here}
    assert {name: metadata.version(name) for name in fixed} == fixed, "`make setup` installs what is fixed"


@pytest.mark.parametrize("lock", [one for one in LOCKS if one != DEV and one.extras], ids=lambda one: one.name)
def test_what_is_deployed_is_what_is_tested(lock: Lock) -> None:
    tested = {pin.name: pin.version for pin in pins(ROOT / DEV.path)}
    assert {pin.version == tested[pin.name] for pin in pins(ROOT / lock.path) if pin.name in tested} == {True}


def test_a_dependency_that_is_not_fixed_is_told_of() -> None:
    told = misfits(DEV, [*wanted(DEV), Requirement("aiohttp<3"), Requirement("left-pad>=1")])
    assert "dev.txt needs left-pad>=1, and requirements/dev.txt has none: `make lock`" in told
    version = metadata.version("aiohttp")
    assert f"dev.txt needs aiohttp<3, and requirements/dev.txt has {version}: `make lock`" in told


def test_a_dependency_that_is_fixed_for_nothing_is_told_of() -> None:
    fewer = [one for one in wanted(DEV) if one.name != "import-linter"]
    assert "requirements/dev.txt has import-linter, which nothing needs: `make lock`" in misfits(DEV, fewer)


def test_what_a_dependency_needs_is_needed() -> None:
    """multidict is nobody's wish, and aiohttp's need."""
    (lock,) = (one for one in LOCKS if one.name == "run")
    unneeded = "requirements/run.txt has multidict, which nothing needs: `make lock`"
    assert unneeded not in misfits(lock, [Requirement("aiohttp")])
    assert unneeded in misfits(lock, [Requirement("orjson")])


def test_every_extra_and_group_is_in_some_lock() -> None:
    assert {name for one in LOCKS for name in one.extras} == set(PROJECT["project"]["optional-dependencies"])
    assert {name for one in LOCKS for name in one.groups} == set(PROJECT["dependency-groups"])


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://packages.example/simple\n",
        "left-pad @ https://packages.example/left-pad.whl\n",
        "left-pad==1.0\n",
        "left-pad>=1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n",
        "left-pad==1.0 \\\n    --hash=md5:" + "0" * 32 + "\n",
        "-r other.txt\n",
    ],
)
def test_what_is_no_pin_with_hashes_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "lock.txt"
    path.write_text(FIXED + line)
    with pytest.raises(ValueError, match="fixes nothing; `make lock` writes this file"):
        list(pins(path))


def test_a_lock_is_made_without_naming_an_index(lock: Lock) -> None:
    words = command(lock, upgrade=True)
    assert "--generate-hashes" in words
    assert "--upgrade" in words
    assert not [word for word in words if "index" in word]


def test_nothing_dangerous_is_in_the_code_that_was_not_judged() -> None:
    assert list(audit.code(*audit.OURS)) == []


def test_what_is_dangerous_is_found(tmp_path: Path) -> None:
    """Unless it was judged at its line, for this rule."""
    risky = tmp_path / "risky.py"
    risky.write_text(
        'import subprocess\n\n\ndef run(words):\n    subprocess.run(words, shell=True)\n    password = ""\n'
        "    eval(words)  # noqa: S307 - a test\n    eval(words)  # noqa: S102 - of something else\n    return password\n"
    )
    found = [sentence.removeprefix(str(tmp_path)) for sentence in audit.code(risky)]
    assert [sentence.split()[:2] for sentence in found] == [
        ["/risky.py:1:", "B404"],
        ["/risky.py:5:", "B602"],
        ["/risky.py:8:", "B307"],
    ]


def test_code_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (:\n")
    (sentence,) = audit.code(tmp_path)
    assert "broken.py could not be read" in sentence


@contextmanager
def knowing(*vulnerable: str, status: int = 200) -> Iterator[audit.Service]:
    """A service in the place of OSV's that knows of these packages."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            name = asked["package"]["name"]
            affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [], "versions": [asked["version"]]}]
            found = {"vulns": [{**BAD, "affected": affected}]} if name in vulnerable else {}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield audit.Service("osv", f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
        thread.join()


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = tmp_path / "fixed.txt"
    path.write_text(FIXED)
    return [path]


def test_a_vulnerable_dependency_is_found(requirements: list[Path]) -> None:
    with knowing("pyyaml", "aiohttp") as service:
        (sentence,) = audit.dependencies(service, requirements)
    assert sentence == "aiohttp 3.14.5 has PYSEC-2021-142 (CVE-2020-14343); fixed in no version yet"


def test_dependencies_of_which_nothing_is_known_are_well(requirements: list[Path]) -> None:
    with knowing("pyyaml") as service:
        assert list(audit.dependencies(service, requirements)) == []


@pytest.mark.parametrize(
    ("status", "why"), [(200, "does not know that pyyaml==5.3.1 is vulnerable"), (503, "could not be asked")]
)
def test_a_service_that_knows_nothing_is_no_clean_bill(status: int, why: str, requirements: list[Path]) -> None:
    with knowing(status=status) as service, pytest.raises(audit.Unanswered, match=why):
        list(audit.dependencies(service, requirements))


def test_a_service_that_is_not_there_is_a_finding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "OURS", ("tools/pins.py",))
    assert audit.main(["--service", "osv", "--osv-url", "http://127.0.0.1:1/"]) == 1
    told = capsys.readouterr().out
    assert "dependencies were NOT asked about: the service osv could not be asked" in told
    assert "no known vulnerability" not in told


def test_the_bill_of_materials_is_valid_and_of_what_is_deployed() -> None:
    found = bill()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(found)) is None
    names = {one["name"].lower() for one in found["components"]}
    assert {"aiohttp", "pydantic", "redis", "pyvoy"} <= names
    assert not names & {"pytest", "bandit", "mypy"}
    assert found["metadata"]["component"]["name"] == "extproc"
    assert [one["name"] for one in found["components"] if not one.get("licenses")] == []
    refs = {one["bom-ref"] for one in found["components"]} | {"root-component"}
    assert {one["ref"] for one in found["dependencies"]} == refs
    assert {needed for one in found["dependencies"] for needed in one["dependsOn"]} <= refs


def test_a_bill_of_what_is_not_installed_is_refused() -> None:
    everything = {"components": [{"name": "aiohttp", "version": "3.0"}], "metadata": {}, "dependencies": []}
    with pytest.raises(Unlike, match="aiohttp, orjson; `make setup`"):
        deployed(everything, {"aiohttp": "3.14.5", "orjson": "1"})
