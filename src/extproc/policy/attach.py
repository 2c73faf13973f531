"""Who attaches what to what (DESIGN section 3, "Who may attach what")."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from extproc.core.link import Scope
from extproc.errors import Place
from extproc.policy.documents import GROUP, BackendDocument, EgressPolicy, ExtensionSpec, Metadata, TargetRef
from extproc.policy.findings import Findings
from extproc.policy.gateway_api import GROUP as GATEWAY_GROUP
from extproc.policy.places import Errors, Origin, Steps
from extproc.policy.read import Document, Documents

SCOPES: Final = {"Gateway": Scope.GATEWAY, "Backend": Scope.BACKEND, "HTTPRoute": Scope.ROUTE}
KINDS: Final = {scope: kind for kind, scope in SCOPES.items()}
GROUPS: Final = {"Gateway": GATEWAY_GROUP, "Backend": GROUP, "HTTPRoute": GATEWAY_GROUP}

MOST: Final = 10_000
"""Extensions at objects: each is built, and a reload has half a minute for all of them."""

Age = tuple[bool, float, str, str]
"""What decides between two: the oldest first (those without a creationTimestamp last), then namespace/name, then kind."""


def age(metadata: Metadata, kind: str) -> Age:
    created = metadata.creation_timestamp
    return created is None, _moment(created) if created else 0.0, str(metadata), kind


def _moment(created: datetime) -> float:
    """A timestamp without a zone is UTC, as all of Kubernetes' are."""
    return (created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True, slots=True)
class Attachment:
    """One extension at one object: `target` is that object's namespace/name, `owner` the document that says so."""

    spec: ExtensionSpec
    scope: Scope
    target: str
    owner: str
    namespace: str
    age: Age
    origin: Origin
    steps: Steps

    @property
    def scope_name(self) -> str:
        return f"{KINDS[self.scope]}/{self.target}"

    @property
    def title(self) -> str:
        return f"extension {self.spec.name!r} of {self.owner}"

    @property
    def overridable(self) -> bool:
        """By default a Gateway's extensions are not, and a Backend's are."""
        return self.scope is not Scope.GATEWAY if self.spec.overridable is None else self.spec.overridable

    def place(self, *steps: str | int) -> Place:
        return self.origin.place(*self.within(*steps))

    def within(self, *steps: str | int) -> Steps:
        """Where something of this extension is written."""
        if steps[:1] == ("config",) and self.spec.raw_config is not None:
            steps = ("rawConfig", *steps[1:])
        return (*self.steps, *steps)


@dataclass(slots=True)
class Attaching:
    """One pass over all documents. `routes` are the HTTPRoutes that count here."""

    documents: Documents
    routes: frozenset[str]
    errors: Errors
    findings: Findings
    _known: dict[str, frozenset[str]] = field(init=False)

    def __post_init__(self) -> None:
        self._known = {
            "Backend": frozenset(str(one.model.metadata) for one in self.documents.backends),
            "HTTPRoute": frozenset(str(one.model.metadata) for one in self.documents.routes),
        }

    def collect(self) -> list[Attachment]:
        """Every extension at every object that this Gateway serves. What is wrong goes to `errors`."""
        found = list(islice(self._all(), MOST + 1))
        if len(found) > MOST:
            message = (
                f"more than {MOST} extensions are attached, each counted at each of its targets: this is one too many"
            )
            self.errors.add(message, found[-1].place("name"), "TooMany")
            return []
        if not any(attachment.scope is Scope.GATEWAY for attachment in found):
            self._unguarded()
        return found

    def _all(self) -> Iterator[Attachment]:
        for backend in self.documents.backends:
            yield from self._backend(backend)
        for policy in self.documents.policies:
            yield from self._policy(policy)

    def _unguarded(self) -> None:
        settings = self.documents.configuration
        if settings.model.authentication == "required":
            elsewhere = ", ".join(sorted(self._gateways()))
            hint = f" (policies name {elsewhere})" if elsewhere else ""
            self.errors.add(
                f"no EgressPolicy attaches an extension to the Gateway {settings.model.gateway}{hint}: attach an authenticator,"
                " or say `authentication: none` if nobody is to be authenticated on purpose",
                settings.origin.place("gateway"),
                "NoPolicy",
            )

    def _gateways(self) -> set[str]:
        """Those that policies name, as they would be written here."""
        return {
            f"{policy.model.metadata.namespace}/{target.name}"
            for policy in self.documents.policies
            for target in policy.model.spec.target_refs
            if target.kind == "Gateway"
        }

    def _backend(self, document: Document[BackendDocument]) -> Iterator[Attachment]:
        model, steps = document.model, ("spec", "extensions")
        self._unique(model.spec.extensions, document.origin, steps)
        yield from self._extensions(document, model.spec.extensions, Scope.BACKEND, str(model.metadata))

    def _policy(self, document: Document[EgressPolicy]) -> Iterator[Attachment]:
        model = document.model
        self._unique(model.spec.extensions, document.origin, ("spec", "extensions"))
        seen = set[tuple[str, str]]()
        for index, target in enumerate(model.spec.target_refs):
            place = document.origin.place("spec", "targetRefs", index)
            if (target.kind, target.name) in seen:
                self.errors.add(f"{target.kind} {target.name!r} is targeted twice: keep one", place)
            elif self._served(target, model.metadata, place):
                name = f"{model.metadata.namespace}/{target.name}"
                yield from self._extensions(document, model.spec.extensions, SCOPES[target.kind], name)
            seen.add((target.kind, target.name))

    def _served(self, target: TargetRef, metadata: Metadata, place: Place) -> bool:
        """Whether the target is one of ours. One that does not exist is an error, another Gateway's is told."""
        name = f"{metadata.namespace}/{target.name}"
        if target.group not in (None, GROUPS[target.kind]):
            self.errors.add(f"the group of {target.kind} is {GROUPS[target.kind]}, not {target.group!r}", place)
            return False
        if target.kind == "Gateway":
            return self._our_gateway(name, metadata, place)
        if name not in self._known[target.kind]:
            self.errors.add(
                f"there is no {target.kind} {name}: a targetRef names an object of the policy's own namespace",
                place,
                "TargetNotFound",
            )
            return False
        if target.kind == "HTTPRoute" and name not in self.routes:
            self.findings.not_served(
                f"HTTPRoute {name} does not belong to this Gateway: nothing is attached to it here", place
            )
            return False
        return True

    def _our_gateway(self, name: str, metadata: Metadata, place: Place) -> bool:
        gateway = self.documents.configuration.model.gateway
        if name == gateway:
            return True
        self.findings.not_served(
            f"EgressPolicy {metadata} targets the Gateway {name}, and this process serves {gateway}: only policies of the"
            " Gateway's namespace attach to it",
            place,
        )
        return False

    def _extensions(
        self,
        document: Document[BackendDocument] | Document[EgressPolicy],
        specs: tuple[ExtensionSpec, ...],
        scope: Scope,
        target: str,
    ) -> Iterator[Attachment]:
        metadata, kind = document.model.metadata, document.kind
        for index, spec in enumerate(specs):
            steps: Steps = ("spec", "extensions", index)
            owner = f"{kind} {metadata}"
            yield Attachment(
                spec, scope, target, owner, metadata.namespace, age(metadata, kind), document.origin, steps
            )

    def _unique(self, specs: tuple[ExtensionSpec, ...], origin: Origin, steps: Steps) -> None:
        seen = set[str]()
        for index, spec in enumerate(specs):
            if spec.name in seen:
                message = f"{spec.name!r} is already the name of an extension of this list: each has its own"
                self.errors.add(message, origin.place(*steps, index, "name"))
            seen.add(spec.name)
