"""What is judged of an ExtProcConfiguration beyond its fields: names that must exist, and addresses that can be had."""

from extproc.policy.build import Extension
from extproc.policy.documents import ExtProcConfiguration
from extproc.policy.names import Address, parse_address
from extproc.policy.places import Errors, Origin
from extproc.policy.read import Document, Documents


def check(documents: Documents, errors: Errors) -> None:
    """Everything that needs no filter; what is wrong goes to `errors`."""
    document = documents.configuration
    _check_listeners(document.model, document.origin, errors)
    known = {str(backend.model.metadata) for backend in documents.backends}
    for name, source in document.model.secret_sources.items():
        for index, backend in enumerate(source.backends):
            if backend not in known:
                place = document.origin.place("secretSources", name, "backends", index)
                errors.add(f"there is no Backend {backend}", place, "BackendNotFound")


def _check_listeners(settings: ExtProcConfiguration, origin: Origin, errors: Errors) -> None:
    seen: list[Address] = []
    for index, listen in enumerate(settings.listen):
        place = origin.place("listen", index, "address")
        if any(_meet(listen.parsed, other, settings.workers) for other in seen):
            errors.add(
                f"{listen.address} is listened on twice: keep one, or leave each worker a port of its own", place
            )
        seen.append(listen.parsed)
        if listen.parsed.port + settings.workers - 1 > 65535:
            errors.add(
                f"{settings.workers} workers need as many ports from {listen.parsed.port} on: there are none", place
            )
    if parse_address(settings.envoy.listen).port == 0 and not parse_address(settings.envoy.listen).path:
        errors.add("port 0 is no port to listen on: write one from 1 to 65535", origin.place("envoy", "listen"))


def _meet(one: Address, other: Address, workers: int) -> bool:
    """Whether some worker would have to listen where another one does: each has the port after that of the one before."""
    return (one.path, one.host) == (other.path, other.host) and abs(one.port - other.port) < workers


def check_identity_headers(
    document: Document[ExtProcConfiguration], extensions: tuple[Extension, ...], errors: Errors
) -> None:
    """Identity headers are removed before anything runs: the authenticator could never read one."""
    for extension in extensions:
        authenticator = extension.link.authenticator
        for index, name in enumerate(document.model.identity_headers):
            if authenticator and name in authenticator.reads:
                errors.add(
                    f"{extension.attachment.title} reads {name!r}, which would be removed before it runs: remove it here",
                    document.origin.place("identityHeaders", index),
                )
