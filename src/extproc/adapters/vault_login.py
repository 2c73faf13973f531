"""How the gateway logs in to Vault. All of it runs in a thread; what is wrong is a `Trouble`, never an exception.

Files are read at each login: projected tokens are rotated by the kubelet, secret ids by the operator.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import hvac

from extproc.adapters.vault_http import STRANGE, Trouble, attempt

SERVICE_ACCOUNT_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
MOST_BYTES: Final = 64 * 1024
CREDENTIAL: Final = re.compile(r"[\x21-\x7e]+")

Open = Callable[[str], hvac.Client]
"""A client with this token, or with none if it is empty."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token of ours, inside `client`. `ttl`: seconds that it is good for, from the login or renewal on; 0: until it is
    revoked. `ours`: a login made it, so it is revoked when it is no longer used.
    """

    client: hvac.Client = field(repr=False)
    ttl: float
    renewable: bool
    ours: bool = True


class Auth(Protocol):
    """One way to log in."""

    def login(self, open_: Open) -> Grant | Trouble: ...


@dataclass(frozen=True, slots=True)
class KubernetesAuth:
    """With the token of our own ServiceAccount, which Vault has reviewed by the API server."""

    role: str
    mount: str = "kubernetes"
    token_path: Path = SERVICE_ACCOUNT_TOKEN

    def login(self, open_: Open) -> Grant | Trouble:
        jwt = _credential(self.token_path, "the token")
        if isinstance(jwt, Trouble):
            return jwt
        auth = open_("").auth.kubernetes
        return _granted(attempt(lambda: auth.login(self.role, jwt, use_token=False, mount_point=self.mount)), open_)


@dataclass(frozen=True, slots=True)
class JwtAuth:
    """With a JWT that Vault checks by the issuer's keys."""

    role: str
    mount: str = "jwt"
    token_path: Path = SERVICE_ACCOUNT_TOKEN

    def login(self, open_: Open) -> Grant | Trouble:
        jwt = _credential(self.token_path, "the token")
        if isinstance(jwt, Trouble):
            return jwt
        auth = open_("").auth.jwt
        return _granted(attempt(lambda: auth.jwt_login(self.role, jwt, use_token=False, path=self.mount)), open_)


@dataclass(frozen=True, slots=True)
class AppRoleAuth:
    """With a role id, and a secret id unless the role wants none."""

    role_id_path: Path
    secret_id_path: Path | None = None
    mount: str = "approle"

    def login(self, open_: Open) -> Grant | Trouble:
        role = _credential(self.role_id_path, "the role id")
        if isinstance(role, Trouble):
            return role
        secret = _credential(self.secret_id_path, "the secret id") if self.secret_id_path else None
        if isinstance(secret, Trouble):
            return secret
        auth = open_("").auth.approle
        return _granted(attempt(lambda: auth.login(role, secret, use_token=False, mount_point=self.mount)), open_)


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """With a token that somebody else made, in a file or in a variable of the environment: exactly one of them."""

    path: Path | None = None
    env: str | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def login(self, open_: Open) -> Grant | Trouble:
        """Nothing is made at Vault: it is asked how long the token is good for."""
        token = _credential(self.path, "the token") if self.path else _variable(self.environ, self.env or "")
        if isinstance(token, Trouble):
            return token
        client = open_(token)
        answer = attempt(client.auth.token.lookup_self)
        data = answer if isinstance(answer, Trouble) else _part(answer, "data")
        if isinstance(data, Trouble):
            return _told(data)
        return Grant(client, _seconds(data.get("ttl")), data.get("renewable") is True, ours=False)


def renewed(grant: Grant) -> Grant | Trouble:
    """The same token, good for longer."""
    answer = attempt(grant.client.auth.token.renew_self)
    auth = answer if isinstance(answer, Trouble) else _part(answer, "auth")
    if isinstance(auth, Trouble):
        return auth
    return replace(grant, ttl=_seconds(auth.get("lease_duration")), renewable=auth.get("renewable") is True)


def alive(grant: Grant) -> bool | Trouble:
    """True if Vault knows the token; DENIED if not, or if its policies let it not even ask."""
    answer = attempt(grant.client.auth.token.lookup_self)
    return answer if isinstance(answer, Trouble) else True


def revoke(grant: Grant) -> bool | Trouble:
    """Give the token back, so that it is not kept at Vault until its time is over."""
    answer = attempt(grant.client.auth.token.revoke_self)
    return answer if isinstance(answer, Trouble) else True


def _granted(answer: Any, open_: Open) -> Grant | Trouble:
    auth = answer if isinstance(answer, Trouble) else _part(answer, "auth")
    if isinstance(auth, Trouble):
        return _told(auth)
    token = auth.get("client_token")
    if not isinstance(token, str) or not CREDENTIAL.fullmatch(token):
        return STRANGE
    return Grant(open_(token), _seconds(auth.get("lease_duration")), auth.get("renewable") is True)


def _told(trouble: Trouble) -> Trouble:
    """A refusal, as one of the login."""
    if trouble.down:
        return trouble
    return Trouble(
        "Vault refuses the gateway's login: look at the role, the mount and the token or ids in `connections.vault.auth`",
        login=True,
    )


def _part(answer: Any, name: str) -> dict[str, Any] | Trouble:
    part = answer.get(name) if isinstance(answer, dict) else None
    return part if isinstance(part, dict) else STRANGE


def _seconds(value: object) -> float:
    return float(max(0, value)) if isinstance(value, int) else 0.0


def _credential(path: Path, what: str) -> str | Trouble:
    """The one word in a file."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES)
    except OSError as error:
        return Trouble(f"{what} for Vault in {str(path)!r} cannot be read: {error.strerror}", login=True)
    return _word(raw.decode("latin-1"), f"{what} for Vault in {str(path)!r} is not one word of printable ASCII")


def _variable(environ: Mapping[str, str], name: str) -> str | Trouble:
    return _word(environ.get(name, ""), f"the variable {name} with the token for Vault is not set, or not one word")


def _word(text: str, otherwise: str) -> str | Trouble:
    word = text.strip()
    return word if CREDENTIAL.fullmatch(word) else Trouble(otherwise, login=True)
