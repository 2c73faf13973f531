#!/bin/sh
# Get the two binaries of a control plane for tests, kube-apiserver and etcd, and print the directory that holds them:
#   KUBEBUILDER_ASSETS=$(tools/envtest/build.sh)
# kube-apiserver is built from its Go module, at the version and with the hashes that go.mod and go.sum pin; etcd is the one on
# the PATH, or Debian's, installed where that is allowed. Where both are there already, nothing is done. Everything lies outside the tree, in the home below (Go's caches take 3 GB).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
home=${XDG_CACHE_HOME:-$HOME/.cache}/extproc-envtest
version=$(sed -n 's|^\tk8s\.io/kubernetes \(v[0-9.]*\)$|\1|p' "$here/go.mod")
assets=$home/$version

fail() {
    echo "envtest: $1" >&2
    exit 1
}

if [ ! -x "$assets/etcd" ]; then
    # Its service would start by itself; the tests start their own.
    if ! command -v etcd >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
        apt-get install -y -qq --no-install-recommends etcd-server >/dev/null 2>&1 ||
            { apt-get update -qq && apt-get install -y -qq --no-install-recommends etcd-server; } >/dev/null 2>&1 || true
    fi
    etcd=$(command -v etcd) || fail "etcd is not on the PATH: apt-get install etcd-server (its service is not needed)"
    mkdir -p "$assets"
    ln -sf "$etcd" "$assets/etcd"
fi

if [ ! -x "$assets/kube-apiserver" ]; then
    command -v go >/dev/null || fail "go is not on the PATH: kube-apiserver $version is built with Go 1.26 or newer"
    echo "envtest: building kube-apiserver $version into $assets; it takes minutes, once" >&2
    release=k8s.io/component-base/version
    minor=${version#v1.}
    (
        cd "$here"
        GOCACHE=$home/go-build GOMODCACHE=$home/go-mod GOFLAGS="-modcacherw -mod=readonly" CGO_ENABLED=0 \
            nice -n 19 go build -trimpath -o "$assets/kube-apiserver.part" -ldflags "-s -w \
                -X $release.gitVersion=$version -X $release.gitMajor=1 -X $release.gitMinor=${minor%%.*}" . >&2
    ) || fail "kube-apiserver $version could not be built; what Go said is above"
    mv "$assets/kube-apiserver.part" "$assets/kube-apiserver"  # whole, or not there
fi

echo "$assets"
