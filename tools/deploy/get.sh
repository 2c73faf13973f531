#!/bin/sh
# Get what the tests of deploy/ judge the manifests with, and print the directory that holds it:
#   tools/deploy/get.sh        the definitions of other people's kinds (seconds)
#   tools/deploy/get.sh all    and helm, and kustomize where there is no kubectl (minutes, once)
#   tools/deploy/get.sh egctl  and Envoy Gateway's translator (ten minutes, once)
# Everything is a Go module at a fixed version: that of modules.txt with its checksum, the programs as Go's checksum database has
# them. Everything lies outside the tree. Where it is there already, nothing is done.
set -eu

helm=v4.3.1
egctl=v1.9.1
kustomize=v5.8.3

here=$(cd "$(dirname "$0")" && pwd)
home=${XDG_CACHE_HOME:-$HOME/.cache}/extproc-tools
crds=$home/crds/$(sha256sum "$here/modules.txt" | cut -c1-12)

fail() {
    echo "deploy-tools: $1" >&2
    exit 1
}

go_() {  # outside of any module
    (cd "$home" && GOMODCACHE=$home/go-mod GOCACHE=$home/go-build GOFLAGS=-modcacherw GOWORK=off GO111MODULE=on CGO_ENABLED=0 \
        nice -n 19 go "$@")
}

program() {  # name, version, module
    [ -x "$home/bin/$1-$2" ] && return
    echo "deploy-tools: building $1 $2; it takes minutes, once" >&2
    mkdir -p "$home/bin"
    (GOBIN=$home/bin.part && export GOBIN && go_ install "$3@$2" >&2) || fail "$1 $2 could not be built; what Go said is above"
    mv "$home/bin.part/$1" "$home/bin/$1-$2"  # whole, or not there
}

mkdir -p "$home"
if [ ! -d "$crds" ]; then
    command -v go >/dev/null || fail "go is not on the PATH: the definitions are in Go modules (Go 1.26 or newer)"
    rm -rf "$crds.part"
    mkdir -p "$crds.part"
    grep -v '^#' "$here/modules.txt" | while read -r module sum files; do
        told=$(go_ mod download -json "$module") || fail "$module cannot be had: $told"
        [ "$(echo "$told" | sed -n 's/^\t"Sum": "\(.*\)",*$/\1/p')" = "$sum" ] || fail "$module is not the one of modules.txt"
        folder=$(echo "$told" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
        for file in $files; do cp "$folder/$file" "$crds.part/"; done
    done
    mv "$crds.part" "$crds"
fi

if [ "${1:-}" = all ]; then
    command -v go >/dev/null || fail "go is not on the PATH: helm is built with Go 1.26 or newer"
    program helm "$helm" helm.sh/helm/v4/cmd/helm
    command -v kubectl >/dev/null || program kustomize "$kustomize" sigs.k8s.io/kustomize/kustomize/v5
fi

[ "${1:-}" != egctl ] || program egctl "$egctl" github.com/envoyproxy/gateway/cmd/egctl

echo "$crds"
