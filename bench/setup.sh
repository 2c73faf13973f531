#!/bin/sh
# Installs what `make bench` measures with, and builds the Go baseline; what is there already stays as it is.
set -eu
cd "$(dirname "$0")"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/extproc-bench"
ghz=v0.121.0

packages=""
command -v wrk >/dev/null || packages="$packages wrk"
command -v h2load >/dev/null || packages="$packages nghttp2-client"
command -v redis-server >/dev/null || packages="$packages redis-server"
if [ -n "$packages" ]; then
    command -v apt-get >/dev/null || { echo "there is no apt-get here: install$packages by hand"; exit 1; }
    apt-get update -qq
    # shellcheck disable=SC2086 - they are words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
fi

command -v go >/dev/null || { echo "go is not on the PATH: install Go 1.26 or newer (https://go.dev/dl), for ghz and the baseline"; exit 1; }
if [ ! -x "$cache/ghz-$ghz" ]; then
    echo "building ghz $ghz (two minutes, once)"
    GOBIN="$cache" go install "github.com/bojand/ghz/cmd/ghz@$ghz"
    mv "$cache/ghz" "$cache/ghz-$ghz"
fi
(cd baseline && go build -trimpath -o "$cache/baseline" .)
echo "ready: wrk, h2load, redis-server, and in $cache ghz and the baseline"
