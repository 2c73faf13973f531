#!/bin/sh
# Build CoreDNS for the walk-through, and print where it is:
#   coredns=$(sh tools/coredns.sh)
# It is built from its Go module, at the version and with the hashes that tools/coredns/go.mod and go.sum pin. Where it is there
# already, nothing is done. `--where` says where it would be, and builds nothing. Everything lies outside the tree.
set -eu

here=$(cd "$(dirname "$0")" && pwd)/coredns
home=${XDG_CACHE_HOME:-$HOME/.cache}/extproc-tools
version=$(sed -n 's|^require github\.com/coredns/coredns \(v[0-9.]*\)$|\1|p' "$here/go.mod")
coredns=$home/coredns-$version

if [ "${1:-}" != --where ] && [ ! -x "$coredns" ]; then
    command -v go >/dev/null || { echo "coredns: go is not on the PATH: CoreDNS $version is built with Go 1.26 or newer" >&2; exit 1; }
    echo "coredns: building CoreDNS $version into $home; it takes minutes, once" >&2
    mkdir -p "$home"
    (
        cd "$here"
        CGO_ENABLED=0 nice -n 19 go build -trimpath -mod=readonly -ldflags "-s -w" -o "$coredns.part" . >&2
    ) || { echo "coredns: CoreDNS $version could not be built; what Go said is above" >&2; exit 1; }
    mv "$coredns.part" "$coredns"  # whole, or not there
fi

echo "$coredns"
