"""Documents and extensions of other shapes become ours: one model is judged and served, wherever it was written."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from extproc.core.phase import ORDER, Phase
from extproc.errors import Cause, ConfigError
from extproc.policy.attach import Attachment, age
from extproc.policy.catalog import Catalog
from extproc.policy.documents import VERSION, BackendDocument, BackendSpec, EgressPolicy, ExtensionSpec
from extproc.policy.drafts import PayloadProcessor, Processor, XBackendDestination
from extproc.policy.names import LABEL
from extproc.policy.places import Errors, Steps
from extproc.policy.read import Document, Documents

MOST_PROCESSORS: Final = 16
FIRST: Final = -(2**20)
LAST: Final = 2**20
"""PreRouting comes before, PostRouting after whatever has a priority of its own; so do extensions that have none."""

OPEN: Final = [Cause.UNAVAILABLE, Cause.TIMEOUT, Cause.UNSUPPORTED, Cause.TOO_LARGE, Cause.MALFORMED]
"""What the draft's FailOpen covers: expressions without a value and bodies that cannot be read, too."""

TYPE: Final = "PayloadHeaders:v1"


def whole(documents: Documents, errors: Errors) -> Documents:
    """With those of other shapes among ours."""
    backends = [backend(one) for one in documents.destinations]
    names = {str(one.model.metadata) for one in documents.backends}
    for one in backends:
        if str(one.model.metadata) in names:
            message = f"there is a Backend {one.model.metadata} too: a destination is one document"
            errors.add(message, one.origin.place("metadata", "name"))
    return replace(
        documents,
        backends=(*documents.backends, *(one for one in backends if str(one.model.metadata) not in names)),
        policies=(*documents.policies, *policies(documents.processors, errors)),
        processors=(),
        destinations=(),
    )


def all_placed(attachments: Iterable[Attachment], catalog: Catalog, errors: Errors) -> list[Attachment]:
    """Each at its phase. What is wrong goes to `errors`."""
    found = []
    for attachment in attachments:
        try:
            found.append(placed(attachment, catalog))
        except ConfigError as error:
            errors.add(error.message, attachment.place("type"), error.reason)
    return found


def policies(found: Iterable[Document[PayloadProcessor]], errors: Errors) -> Iterator[Document[EgressPolicy]]:
    """Each PayloadProcessor as a policy of its target; of several the oldest first. Of two extensions of one name one would not
    run, so a name that two processors come to is refused.
    """
    ordered = sorted(found, key=lambda one: age(one.model.metadata, one.model.kind))
    owners: dict[tuple[str, str], str] = {}
    for rank, document in enumerate(ordered):
        metadata = document.model.metadata
        try:
            policy = _policy(document, rank)
        except ConfigError as error:
            errors.extend([error])
            continue
        for index, step in enumerate(policy.model.spec.extensions):
            owner = owners.setdefault((metadata.namespace, step.name), str(metadata))
            if owner != str(metadata):
                message = f"this becomes the extension {step.name!r}, and so does one of {owner}: give it another name"
                errors.add(message, document.origin.place("spec", "processors", index, "name"))
        yield policy


def _policy(document: Document[PayloadProcessor], rank: int) -> Document[EgressPolicy]:
    """Raises: ConfigError."""
    model, spec = document.model, document.model.spec
    first = (FIRST if spec.phase == "PreRouting" else LAST) + rank * MOST_PROCESSORS
    extensions = [_step(document, index, first + index) for index in range(len(spec.processors))]
    target = {"group": spec.target_ref.group, "kind": spec.target_ref.kind, "name": spec.target_ref.name}
    whole: dict[str, Any] = {
        "apiVersion": VERSION,
        "kind": "EgressPolicy",
        "metadata": model.metadata,
        "spec": {"targetRefs": [target], "extensions": extensions},
    }
    renamed: dict[Steps, Steps] = {("spec", "targetRefs", 0): ("spec", "targetRef")}
    for index in range(len(extensions)):
        ours, theirs = ("spec", "extensions", index), ("spec", "processors", index)
        renamed |= {ours: theirs, (*ours, "config"): (*theirs, "inProcess", "request")}
        renamed |= {(*ours, "failOpen"): (*theirs, "failureMode")}
    origin = replace(document.origin, renamed=renamed)
    return Document(EgressPolicy.model_validate(whole), origin, model.kind)


def _step(document: Document[PayloadProcessor], index: int, priority: int) -> ExtensionSpec:
    """Raises: ConfigError."""
    model, processor = document.model, document.model.spec.processors[index]
    name = f"{model.metadata.name.replace('.', '-')}-{processor.name}"
    if not LABEL.fullmatch(name):
        message = (
            f"the names of the document and of the processor are too long together ({name}): at most 63 characters"
        )
        raise ConfigError(message, document.origin.place("spec", "processors", index, "name"))
    step = ExtensionSpec.model_validate(
        {
            "name": name,
            "type": TYPE,
            "phase": Phase.REQUEST_BODY,
            "priority": priority,
            **_failing(processor),
            "config": _config(processor, reroutes=model.spec.phase == "PreRouting"),
        }
    )
    return step if processor.timeout is None else step.model_copy(update={"timeout": processor.timeout})


def _failing(processor: Processor) -> dict[str, Any]:
    return {"failOpen": True, "failOpenOn": OPEN} if processor.failure_mode == "FailOpen" else {}


def _config(processor: Processor, *, reroutes: bool) -> dict[str, Any]:
    request = processor.in_process.request if processor.in_process else None
    return {
        "setHeaders": [{"name": one.name, "value": one.value} for one in request.set_headers] if request else [],
        "removeHeaders": list(request.remove_headers) if request else [],
        "clearRouteCache": reroutes,
    }


def backend(document: Document[XBackendDestination]) -> Document[BackendDocument]:
    """A destination of the prototype as a Backend."""
    model, destination = document.model, document.model.spec.destination
    port = destination.ports[0]
    tls = {"mode": "NONE"} if port.tls is None or port.tls.mode == "None" else {"mode": "SIMPLE"}
    named = {"serverName": port.tls.sni} if port.tls and port.tls.sni else {}
    fqdn = {"hostname": destination.fqdn.hostname, "port": port.number, "tls": {**tls, **named}}
    spec = BackendSpec.model_validate({"type": "FQDN", "fqdn": fqdn, "extensions": model.spec.extensions})
    whole = {"apiVersion": VERSION, "kind": "Backend", "metadata": model.metadata, "spec": spec}
    there: Steps = ("spec", "destination")
    renamed: dict[Steps, Steps] = {
        ("spec", "fqdn"): (*there, "fqdn"),
        ("spec", "fqdn", "port"): (*there, "ports", 0, "number"),
        ("spec", "fqdn", "tls"): (*there, "ports", 0, "tls"),
    }
    return Document(BackendDocument.model_validate(whole), replace(document.origin, renamed=renamed), model.kind)


def placed(attachment: Attachment, catalog: Catalog) -> Attachment:
    """An extension that was written as name, type and rawConfig: at the phase that its type has for this, after those that have
    a priority, in the order of the list.

    Raises:
        ConfigError: its type has several phases and does not say which.
    """
    spec = attachment.spec
    if spec.raw_config is None:
        return attachment
    index = attachment.steps[-1]
    phase = _phase(attachment, catalog.find(spec.type))
    update = {"phase": phase, "priority": LAST + (index if isinstance(index, int) else 0), "config": spec.raw_config}
    return replace(attachment, spec=spec.model_copy(update=update))


def _phase(attachment: Attachment, kind: type[Any] | None) -> Phase:
    if kind is None:
        return Phase.REQUEST_HEADERS  # nothing runs there: it is Degraded
    phases = [phase for phase in ORDER if phase in kind.phases]
    default = getattr(kind, "default_phase", phases[0] if len(phases) == 1 else None)
    if default not in phases:
        known = ", ".join(phases)
        raise ConfigError(
            f"{attachment.spec.type} runs at {known}, and `rawConfig` does not say where: write `phase` and `config`",
            attachment.place("type"),
        )
    return Phase(default)
