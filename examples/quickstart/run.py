"""The quickstart: a stub of an LLM API, the ext_proc server and Envoy, together. `make run` starts it, Ctrl-C ends it."""

import asyncio
import sys
from pathlib import Path
from textwrap import indent

from extproc.compose import configure
from extproc.envoy.gateway import run_gateway, serve_command, stub_child
from extproc.envoy.process import Ended
from extproc.envoy.resolved import plan_of
from extproc.errors import ConfigError, Refused
from extproc.policy.names import Address

CONFIG = Path(__file__).with_name("extproc.yaml")
STUB = Address(host="127.0.0.1", port=8001)

READY = """
The gateway listens on http://localhost:10000, its admin port on http://127.0.0.1:9090/status,
and the destination, a stub that says what it was asked, on port 8001. In another terminal:

  curl -N http://localhost:10000/v1/chat/completions \\
    -H 'authorization: Bearer demo-token' -H 'content-type: application/json' -H 'x-stub-delta: 5' \\
    -d '{"model": "echo", "stream": true, "messages": [{"role": "user",
         "content": "Tell jane@example.com that 4111 1111 1111 1111 was charged."}]}'

  curl http://localhost:8001/__received/last

The answer holds the address and the card; the second command shows what the destination received: neither, and
the workload's key. Without the token it is 401; more than five times in a minute it is 429. Ctrl-C ends everything.
"""


def main() -> int:
    resolved = configure(CONFIG)
    gateway = run_gateway(
        plan_of(resolved),
        serve_command(CONFIG),
        lambda: print(READY, flush=True),
        drain=resolved.settings.drain_seconds,
        extra=[stub_child(STUB)],
    )
    try:
        asyncio.run(gateway)
    except Ended as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before everything was up
        sys.exit(130)
    except (ConfigError, Refused) as error:
        print(indent(str(error), "error: "), file=sys.stderr)
        sys.exit(2)
