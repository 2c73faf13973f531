#!/bin/sh
# Install redis-server where that is allowed: as root, with apt-get. Anywhere else say what is missing. Never a failure: only
# the tests that want a real Redis and `make run-real` need it.
set -u

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing redis-server (once)"
    # Its service would start by itself and take the port: the tests start their own servers.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get install -y -qq --no-install-recommends redis-server >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server; } >/dev/null 2>&1
fi
command -v redis-server >/dev/null ||
    echo "redis-server is not on this machine: the tests with a real Redis are skipped, and make run-real needs it;" \
        "install the package redis-server (apt-get install redis-server)"
exit 0
