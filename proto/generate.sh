#!/bin/sh
# Makes the stubs in src/extproc/wire/pb from the .proto files here; with a folder as argument, makes them there.
set -eu
cd "$(dirname "$0")/.."
protoc="${PYTHON:-.venv/bin/python} -m grpc_tools.protoc -I proto"
out="${1:-src}"
$protoc --python_out="$out" --pyi_out="$out" proto/extproc/wire/pb/*.proto
