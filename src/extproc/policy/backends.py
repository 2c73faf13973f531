"""The Backends: their hosts judged, and one of them chosen for each host."""

from extproc.core.peer import Backend
from extproc.policy.attach import Age, age
from extproc.policy.documents import BackendDocument
from extproc.policy.findings import Findings
from extproc.policy.hosts import is_internal, normal_hostname
from extproc.policy.places import Errors
from extproc.policy.read import Document
from extproc.policy.resolved import ServedBackend


def read_backends(
    documents: tuple[Document[BackendDocument], ...], gateway_namespace: str, errors: Errors, findings: Findings
) -> dict[str, ServedBackend]:
    """All Backends by namespace/name, in that order, still without chains. Of two with one hostname one is conflicted."""
    ordered = sorted(documents, key=lambda document: _precedence(document.model, gateway_namespace))
    owners: dict[str, str] = {}
    found: dict[str, ServedBackend] = {}
    for document in ordered:
        host = _host(document, errors)
        if host is None:
            continue
        _check_reach(document, gateway_namespace, errors)
        name = str(document.model.metadata)
        owner = owners.setdefault(host, name)
        if owner != name:
            findings.conflicted(
                f"Backend {name} serves nothing: the hostname {host} belongs to Backend {owner}",
                document.origin.place("spec", "fqdn", "hostname"),
                "HostnameConflict",
            )
        found[name] = _served(document, host, conflicted=owner != name)
    return dict(sorted(found.items()))


def _precedence(model: BackendDocument, gateway_namespace: str) -> tuple[bool, Age]:
    """The Gateway's namespace wins, then the oldest."""
    return model.metadata.namespace != gateway_namespace, age(model.metadata, model.kind)


def _host(document: Document[BackendDocument], errors: Errors) -> str | None:
    hostname = document.model.spec.fqdn.hostname
    place = document.origin.place("spec", "fqdn", "hostname")
    try:
        host = normal_hostname(hostname)
    except ValueError as error:
        errors.add(str(error), place)
        return None
    if is_internal(host) and not document.model.spec.allow_internal:
        errors.add(
            f"{hostname!r} is an address or a name inside: an egress gateway would lead back in. If that is meant, say"
            " `allowInternal: true` in the Backend's spec",
            place,
            "InternalHost",
        )
        return None
    return host


def _check_reach(document: Document[BackendDocument], gateway_namespace: str, errors: Errors) -> None:
    """What is around the gateway, and the keys beside it, are no other namespace's to name."""
    spec = document.model.spec
    if document.model.metadata.namespace == gateway_namespace:
        return
    if spec.allow_internal:
        message = f"what is inside can be allowed for Backends of the Gateway's namespace alone: {gateway_namespace}"
        errors.add(message, document.origin.place("spec", "allowInternal"), "NotPermitted")
    if spec.fqdn.tls.mode == "MUTUAL":
        message = (
            f"a client certificate of the gateway is for Backends of the Gateway's namespace alone: {gateway_namespace}"
        )
        errors.add(message, document.origin.place("spec", "fqdn", "tls", "cert"), "NotPermitted")


def _served(document: Document[BackendDocument], host: str, *, conflicted: bool) -> ServedBackend:
    metadata, spec = document.model.metadata, document.model.spec
    clusters = frozenset(spec.clusters or (str(metadata),))
    return ServedBackend(
        Backend(metadata.namespace, metadata.name, host, spec.fqdn.port, clusters),
        spec.fqdn,
        document.origin.directory,
        document.origin.place(),
        internal=spec.allow_internal,
        conflicted=conflicted,
    )
