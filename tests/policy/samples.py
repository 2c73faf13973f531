"""Small configurations and small filters for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from pydantic import Field

from extproc.adapters.cel import Cel
from extproc.core.headers import Headers
from extproc.core.message import Request, read_request
from extproc.core.phase import Phase
from extproc.core.verdict import Continue, Verdict
from extproc.errors import ConfigError, Place, Refused
from extproc.policy.documents import ExtProcConfiguration
from extproc.policy.read import load
from extproc.policy.resolve import resolve
from extproc.policy.resolved import Resolved
from extproc.ports import CounterStore, Expression, FilterContext, SecretStore, TokenReviewer
from extproc.schema import Model

SETTINGS: Final = """\
apiVersion: egress.extproc.dev/v1alpha1
kind: ExtProcConfiguration
gateway: egress/egress
"""

AUTHN: Final = """\
apiVersion: egress.extproc.dev/v1alpha1
kind: EgressPolicy
metadata: {name: baseline, namespace: egress}
spec:
  targetRefs: [{kind: Gateway, name: egress}]
  extensions:
  - {name: authn, type: "Authn:v1", phase: request-headers, priority: 0}
"""

BACKEND: Final = """\
apiVersion: egress.extproc.dev/v1alpha1
kind: Backend
metadata: {name: openai, namespace: egress}
spec:
  type: FQDN
  fqdn: {hostname: api.openai.com, port: 443}
"""


class Base:
    """A filter that goes on."""

    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS})

    class Config(Model):
        pass

    def __init__(self, config: Any, context: FilterContext) -> None:
        self.config, self.context = config, context

    async def decide(self, phase: Phase, exchange: object) -> Verdict:
        return Continue()


class Authn(Base):
    phases = frozenset({Phase.REQUEST_HEADERS, Phase.RESPONSE_HEADERS})
    reads = frozenset({"authorization"})

    class Config(Model):
        key: str | None = None

    def __init__(self, config: Any, context: FilterContext) -> None:
        super().__init__(config, context)
        if config.key:
            context.outside.expression(config.key)


class Limit(Base):
    phases = frozenset({Phase.REQUEST_HEADERS, Phase.RESPONSE_HEADERS})

    class Limits(Model):
        name: str
        requests: int = 1

    class Config(Model):
        key: str = "peer.namespace"
        limits: tuple["Limit.Limits", ...] = Field(default=(), strict=False)
        broken: bool = False

    def __init__(self, config: Any, context: FilterContext) -> None:
        super().__init__(config, context)
        if config.broken:
            raise RuntimeError("the value s3cret")
        context.outside.expression(config.key)
        for index, limit in enumerate(config.limits):
            if limit.requests < 1:
                raise ConfigError("a limit of none admits nobody", Place(field=f"config.limits[{index}].requests"))


class Inject(Base):
    phases = frozenset({Phase.REQUEST_HEADERS, Phase.BACKEND_REQUEST})
    releases_credentials = True

    class Config(Model):
        source: str = "keys"
        allow_plaintext: bool = False
        backends: tuple[str, ...] = Field(default=(), strict=False)

    def __init__(self, config: Any, context: FilterContext) -> None:
        super().__init__(config, context)
        self.allow_plaintext = config.allow_plaintext
        self.backends = frozenset(config.backends)
        self.sets_headers, self.sets_query = {"X-Key"}, {"Key"}
        context.outside.secrets(config.source)


class Body(Base):
    phases = frozenset({Phase.REQUEST_BODY, Phase.RESPONSE_BODY})

    class Config(Model):
        max_body_bytes: int = 2000

    def __init__(self, config: Any, context: FilterContext) -> None:
        super().__init__(config, context)
        self.max_body_bytes = config.max_body_bytes

    def transformer(self, phase: Phase, exchange: object) -> None:
        return None


CATALOG: Final[Mapping[str, type[Any]]] = {"Authn:v1": Authn, "Limit:v1": Limit, "Inject:v1": Inject, "Body:v1": Body}


@dataclass(frozen=True)
class Store:
    backends: frozenset[str] = frozenset()

    async def read(self, path: object, field: str) -> None:
        return None


@dataclass(frozen=True)
class Outside:
    """The embedded outside, as far as these filters ask."""

    now: Callable[[], float] = float

    def expression(self, source: str) -> Expression:
        return Cel.compile(source)

    def reviewer(self, config: Mapping[str, Any], directory: Path) -> TokenReviewer:
        raise NotImplementedError

    def counters(self, store: str | None) -> CounterStore:
        raise NotImplementedError

    def secrets(self, source: str) -> SecretStore:
        return Store()


def outside(settings: ExtProcConfiguration, directory: Path) -> Outside:
    return Outside()


def write(directory: Path, *documents: str) -> Path:
    """One file of these documents."""
    path = directory / "config.yaml"
    path.write_text("---\n".join(document if document.endswith("\n") else f"{document}\n" for document in documents))
    return path


def resolved(directory: Path, *documents: str) -> Resolved:
    return resolve(load(write(directory, *documents)), CATALOG, outside)


def refused(directory: Path, *documents: str) -> tuple[ConfigError, ...]:
    """The errors of a configuration that is refused, while it is read or while it is resolved."""
    path = write(directory, *documents)
    with pytest.raises(Refused) as caught:
        resolve(load(path), CATALOG, outside)
    return caught.value.errors


def marked_line(*documents: str) -> int:
    """The line (from 1) that says `#!`."""
    lines = "---\n".join(document if document.endswith("\n") else f"{document}\n" for document in documents).split("\n")
    return next(number for number, line in enumerate(lines, 1) if "#!" in line)


def policy(name: str, target: str, *extensions: str, namespace: str = "egress", created: str = "") -> str:
    """An EgressPolicy; `target` is `Kind/name`, an extension is the inside of a flow mapping."""
    kind, _, target_name = target.partition("/")
    stamp = f", creationTimestamp: {created}" if created else ""
    listed = "".join(f"  - {{{extension}}}\n" for extension in extensions) if extensions else "  []\n"
    return (
        "apiVersion: egress.extproc.dev/v1alpha1\nkind: EgressPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}{stamp}}}\n"
        f"spec:\n  targetRefs: [{{kind: {kind}, name: {target_name}}}]\n  extensions:\n{listed}"
    )


def backend(
    name: str, hostname: str, more: str = "", *, namespace: str = "egress", created: str = "", tls: str = ""
) -> str:
    stamp = f", creationTimestamp: {created}" if created else ""
    tls = f", tls: {tls}" if tls else ""
    return (
        "apiVersion: egress.extproc.dev/v1alpha1\nkind: Backend\n"
        f"metadata: {{name: {name}, namespace: {namespace}{stamp}}}\n"
        f'spec:\n  type: FQDN\n  fqdn: {{hostname: "{hostname}", port: 443{tls}}}\n{more}'
    )


def route(
    name: str, hostnames: str, rules: str, *, namespace: str = "egress", created: str = "", parent: str = "egress"
) -> str:
    stamp = f", creationTimestamp: {created}" if created else ""
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name}, namespace: {namespace}{stamp}}}\n"
        f"spec:\n  parentRefs: [{{name: {parent}, namespace: egress}}]\n  hostnames: {hostnames}\n  rules:\n{rules}"
    )


def to(*names: str) -> str:
    """backendRefs in flow style."""
    return ", ".join(f"{{group: egress.extproc.dev, kind: Backend, name: {name}}}" for name in names)


def request(host: str, path: str = "/", method: str = "GET", **headers: str) -> Request:
    fields = {":method": method, ":scheme": "https", ":authority": host, ":path": path, **headers}
    encoded = [(name.replace("_", "-"), value.encode()) for name, value in fields.items()]
    found = read_request(Headers(encoded))
    assert isinstance(found, Request), found
    return found
