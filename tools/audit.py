"""Is anything dangerous in our code, or known to be vulnerable in what it depends on? `python -m tools.audit`: exit code 1
if so, and also if nobody could be asked: a service that answers nothing is no clean bill.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("dev", "docs", "presidio", "run")
OURS: Final = ("src/extproc", "filters")

KNOWN: Final = "pyyaml==5.3.1"
"""It has CVE-2020-14343: a service that has no word about it knows nothing, or was not reached."""

JUDGED: Final = re.compile(r"# noqa:[^#]*\bS(\d{3})\b")
"""What was judged for ruff, whose S rules have bandit's numbers, is not to be judged again."""

EMPTY: Final = "Possible hardcoded password: ''"
"""What bandit says of a password that is none."""

PATIENCE: Final = 600.0
"""Seconds for a few hundred questions."""

Json = dict[str, Any]


class Unanswered(Exception):
    """The service could not be asked, or what it said is no answer. The text says so."""


@dataclass(frozen=True)
class Service:
    """Who knows of vulnerabilities: `pypi` or `osv`; `url` is another place of the latter."""

    name: str = "pypi"
    url: str | None = None

    def ask(self, requirements: Sequence[Path]) -> list[Json]:
        """What pip-audit found of each package: `name`, `version`, and `vulns` or a `skip_reason`. Raises: Unanswered."""
        argv = [_tool("pip-audit"), "--disable-pip", "--no-deps", "--progress-spinner=off", "--format=json"]
        argv += [f"--vulnerability-service={self.name}", *([f"--osv-url={self.url}"] if self.url else [])]
        argv += [f"--requirement={path}" for path in requirements]
        done = _run(argv)
        try:
            found: list[Json] = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError):
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise Unanswered(f"the service {self.name} could not be asked: {last}") from None
        return found

    def answers(self) -> None:
        """Raises: Unanswered, unless it knows what everybody knows. It is asked for one package, before it is for hundreds."""
        with tempfile.TemporaryDirectory() as folder:
            requirements = Path(folder) / "known.txt"
            requirements.write_text(f"{KNOWN}\n")
            (found,) = self.ask([requirements])
        if not found.get("vulns"):
            why = found.get("skip_reason", "it says there is nothing")
            raise Unanswered(f"the service {self.name} does not know that {KNOWN} is vulnerable: {why}")


def dependencies(service: Service, requirements: Sequence[Path]) -> Iterator[str]:
    """A sentence for each package of these lock files with a known vulnerability, and each that the service does not know.

    Raises: Unanswered.
    """
    service.answers()
    for package in service.ask(requirements):
        name = f"{package['name']} {package.get('version', '')}".strip()
        if reason := package.get("skip_reason"):
            yield f"{name} was not judged: {reason}"
        for known in package.get("vulns", ()):
            fixed = ", ".join(known["fix_versions"]) or "no version yet"
            yield f"{name} has {known['id']} ({', '.join(known['aliases']) or 'no other name'}); fixed in {fixed}"


def code(*folders: str | Path) -> Iterator[str]:
    """A sentence for each place that bandit finds dangerous, and nobody has judged."""
    argv = [_tool("bandit"), "--quiet", "--recursive", "--format=json", *map(str, folders)]
    report = json.loads(_run(argv).stdout)
    for error in report["errors"]:
        yield f"{error['filename']} could not be read: {error['reason']}"
    for found in report["results"]:
        judged = found["test_id"].removeprefix("B") in _judged(ROOT / found["filename"], found["line_number"])
        if not judged and found["issue_text"] != EMPTY:
            yield f"{found['filename']}:{found['line_number']}: {found['test_id']} {found['issue_text']}"


def _judged(path: Path, line: int) -> set[str]:
    return set(JUDGED.findall(path.read_text().splitlines()[line - 1]))


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own words
        argv, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE, check=False
    )


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 for findings, and for questions that found no answer."""
    parser = argparse.ArgumentParser("audit", description="Look for what is dangerous, and for known vulnerabilities.")
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi", help="who knows of vulnerabilities")
    parser.add_argument("--osv-url", help="of another service that speaks as OSV does")
    given = parser.parse_args(arguments)
    wrong = list(code(*OURS))
    print(f"code: {len(wrong)} findings" if wrong else "code: nothing dangerous is found that was not judged")
    requirements = [ROOT / "requirements" / f"{name}.txt" for name in LOCKS]
    try:
        known = list(dependencies(Service(given.service, given.osv_url), requirements))
        print(f"dependencies: {len(known)} findings" if known else "dependencies: no known vulnerability")
    except Unanswered as error:
        known = [f"dependencies were NOT asked about: {error}"]
    for sentence in (*wrong, *known):
        print(sentence)
    return 1 if wrong or known else 0


if __name__ == "__main__":
    sys.exit(main())
