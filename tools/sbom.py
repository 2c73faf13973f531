"""The bill of materials of what is deployed (CycloneDX 1.6, JSON), in build/sbom.cdx.json: `python -m tools.sbom [FILE]`.

Versions, licences and what needs what come from the packages as they are installed here; which of them are deployed, from
requirements/run.txt.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from packaging.utils import canonicalize_name

from tools.pins import pins

ROOT: Final = Path(__file__).parents[1]
DEPLOYED: Final = ROOT / "requirements" / "run.txt"
PLACE: Final = ROOT / "build" / "sbom.cdx.json"

LICENCES: Final = {"protobuf": "BSD-3-Clause", "pyvoy": "MIT"}
"""Of packages whose metadata do not name one as SPDX does; what is in their file LICENSE."""

Json = dict[str, Any]


class Unlike(Exception):
    """What is installed is not what is fixed. The text says what to do."""


def bill() -> Json:
    """Raises: Unlike."""
    return deployed(_everything(), {pin.name: pin.version for pin in pins(DEPLOYED) if pin.here})


def deployed(everything: Json, fixed: dict[Any, str]) -> Json:
    """Of the bill of an environment what `fixed` names, by name and version, and the project itself. Raises: Unlike."""
    found = {canonicalize_name(each["name"]): each for each in everything["components"]}
    other = sorted(name for name, version in fixed.items() if found.get(name, {}).get("version") != version)
    if other:
        raise Unlike(f"not installed as in {DEPLOYED.name}: {', '.join(other)}; `make setup` installs what is fixed")
    kept = [{**_licensed(name), **found[name]} for name in sorted(fixed)]
    known = {each["bom-ref"] for each in kept} | {everything["metadata"]["component"]["bom-ref"]}
    needs = [each for each in everything["dependencies"] if each["ref"] in known]
    needs = [{**each, "dependsOn": sorted(known & set(each.get("dependsOn", ())))} for each in needs]
    return {**everything, "components": kept, "dependencies": needs}


def _licensed(name: str) -> Json:
    """What counts unless the package says it itself."""
    return {"licenses": [{"license": {"id": LICENCES[name]}}]} if name in LICENCES else {}


def _everything() -> Json:
    """Of the environment of this Python."""
    tool = Path(sys.executable).with_name("cyclonedx-py")
    argv = [str(tool), "environment", "--pyproject=pyproject.toml", "--spec-version=1.6", "--output-reproducible"]
    argv += ["--no-validate", sys.executable]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, check=True)  # noqa: S603 - our own words
    found: Json = json.loads(done.stdout)
    return found


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 if the environment is not the one that is fixed."""
    place = Path(arguments[0]) if arguments else PLACE
    try:
        found = bill()
    except Unlike as error:
        print(error, file=sys.stderr)
        return 1
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(found, indent=1))
    print(f"{place}: {len(found['components'])} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
