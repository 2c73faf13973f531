"""What an operator does to a Vault once, done to the OpenBao of this example: a policy, a role that may log in, and a key."""

import secrets
from pathlib import Path
from typing import Any

import aiohttp

from extproc.policy.connections import VaultAppRole

KEY = "sk-real-parts-no-real-key"
POLICY = 'path "secret/data/provider-keys/*" { capabilities = ["read"] }'
ROOT = secrets.token_hex(16)
"""The token that everything is prepared with. The server never sees it."""
VARIABLE = "BAO_DEV_ROOT_TOKEN_ID"
"""How OpenBao is told which one that is to be."""


async def prepare(address: str, role: VaultAppRole) -> None:
    """Write the key of ai-workloads/default, and the files that the server logs in with. Raises: aiohttp.ClientError."""
    timeout = aiohttp.ClientTimeout(5)
    async with aiohttp.ClientSession(headers={"x-vault-token": ROOT}, timeout=timeout) as session:

        async def call(method: str, path: str, **body: object) -> dict[str, Any]:
            async with session.request(method, f"{address}/v1/{path}", json=body or None) as answer:
                answer.raise_for_status()
                return (await answer.json())["data"] if answer.status == 200 else {}

        await call("PUT", "sys/policies/acl/provider-keys", policy=POLICY)
        await call("POST", "sys/auth/approle", type="approle")
        await call("POST", "auth/approle/role/extproc", token_policies=["provider-keys"], token_ttl="20m")  # noqa: S106 - a duration
        await call("POST", "secret/data/provider-keys/ai-workloads/default", data={"api_key": KEY})
        identity = await call("GET", "auth/approle/role/extproc/role-id")
        credential = await call("POST", "auth/approle/role/extproc/secret-id")
    _write(Path(role.role_id_path), identity["role_id"])
    _write(Path(str(role.secret_id_path)), credential["secret_id"])


async def answers(address: str) -> bool:
    """Whether it is there, and open."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(1)) as session,
            session.get(f"{address}/v1/sys/health") as answer,
        ):
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _write(path: Path, text: str) -> None:
    """Only for this user: the directory is, too."""
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(text, "utf-8")
