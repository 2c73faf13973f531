"""A package of somebody else's, installed into a folder of its own, as pip does it."""

import shutil
import subprocess
import sys
from pathlib import Path


def install(package: Path, site: Path) -> Path:
    """`package`, installed into `site`. It is copied first: a build leaves things in its source."""
    source = site.with_name(f"{site.name}-source")
    shutil.copytree(package, source, ignore=shutil.ignore_patterns("*.egg-info", "build", "__pycache__", ".*"))
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(site), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        raise RuntimeError(f"pip failed:\n{done.stdout}{done.stderr}")
    return site
