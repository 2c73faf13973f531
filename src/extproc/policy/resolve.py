"""Documents become a `Resolved`, or are refused with everything that is wrong with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from extproc.core.link import Scope
from extproc.errors import ConfigError, Place, Refused
from extproc.policy import convert, past_routes, rerouting
from extproc.policy import settings as settings_checks
from extproc.policy.attach import Attaching, Attachment
from extproc.policy.backends import read_backends
from extproc.policy.build import Builder, Extension, by_scope
from extproc.policy.catalog import Catalog
from extproc.policy.chains import Chains, refuse_missing_authenticator
from extproc.policy.documents import ExtProcConfiguration
from extproc.policy.findings import Findings
from extproc.policy.matching import patterns
from extproc.policy.places import Errors, Origin, undotted
from extproc.policy.read import Documents
from extproc.policy.resolved import Needs, Resolved, ServedBackend, needs_of
from extproc.policy.routes import Routes, entries_by_host, ours
from extproc.ports import Outside

MakeOutside = Callable[[ExtProcConfiguration, Path], Outside]
"""Makes what filters reach. Raises: ConfigError or Refused, with fields of the ExtProcConfiguration as places."""


def resolve(documents: Documents, catalog: Mapping[str, type[Any]], outside: MakeOutside) -> Resolved:
    """The configuration, ready to serve. `catalog` are the built-in filters by full type.

    Raises:
        Refused: with all errors that were found.
    """
    return _Resolving(documents, catalog, outside).resolve()


@dataclass(slots=True)
class _Resolving:
    documents: Documents
    catalog: Mapping[str, type[Any]]
    outside: MakeOutside
    errors: Errors = field(default_factory=Errors)
    findings: Findings = field(default_factory=Findings)
    made: Outside | None = None

    def resolve(self) -> Resolved:
        self.documents = convert.whole(self.documents, self.errors)
        document = self.documents.configuration
        settings_checks.check(self.documents, self.errors)
        backends = read_backends(self.documents.backends, document.model.gateway_namespace, self.errors, self.findings)
        served = ours(self.documents, self.findings)
        routes = Routes(self.documents, backends, self.errors)
        for route in served:
            routes.check(route)
        names = frozenset(str(route.model.metadata) for route in served)
        attachments = Attaching(self.documents, names, self.errors, self.findings).collect()
        extensions = self._build(attachments)
        self.errors.check()
        chains = Chains(document, by_scope(extensions), self.errors, self.findings)
        backends = {name: self._with_chain(backend, chains) for name, backend in backends.items()}
        routes = Routes(self.documents, backends, self.errors)
        return self._put_together(tuple(backends.values()), routes, chains, extensions)

    def _build(self, attachments: list[Attachment]) -> list[Extension]:
        """Every extension; then whether the Gateway has an authenticator, if that can be told."""
        self.made = outside = self._outside()
        if outside is None:
            return []
        document = self.documents.configuration
        catalog = Catalog(self.catalog, document, self.errors)
        builder = Builder(document.model, catalog, outside, self.errors, self.findings)
        attachments = convert.all_placed(attachments, catalog, self.errors)
        built = [builder.build(attachment) for attachment in attachments]
        found = [extension for extension in built if extension is not None]
        wanted = [attachment for attachment in attachments if attachment.scope is Scope.GATEWAY]
        at_gateway = tuple(extension for extension in found if extension.attachment.scope is Scope.GATEWAY)
        if wanted and len(at_gateway) == len(wanted):
            refuse_missing_authenticator(document, at_gateway, self.errors)
            settings_checks.check_identity_headers(document, at_gateway, self.errors)
        return found

    def _outside(self) -> Outside | None:
        document = self.documents.configuration
        try:
            return self.outside(document.model, document.origin.directory)
        except ConfigError as error:
            self._add_setting(error)
        except Refused as refused:
            for one in refused.errors:
                self._add_setting(one)
        return None

    def _add_setting(self, error: ConfigError) -> None:
        place = error.place if error.place.file else _in(self.documents.configuration.origin, error.place)
        self.errors.add(error.message, place, error.reason)

    def _with_chain(self, served: ServedBackend, chains: Chains) -> ServedBackend:
        if served.conflicted:
            return served
        return replace(served, chain=chains.chain(None, served.backend, served.fqdn))

    def _put_together(
        self, backends: tuple[ServedBackend, ...], routes: Routes, chains: Chains, extensions: list[Extension]
    ) -> Resolved:
        document = self.documents.configuration
        found = [routes.serve(route, chains) for route in ours(self.documents, self.findings)]
        served = sorted(found, key=lambda route: route.age)
        gateway_chain = chains.chain(None, None)
        self.errors.check()
        hosts = entries_by_host(served)
        resolved = Resolved(
            settings=document.model,
            directory=document.origin.directory,
            backends=backends,
            routes=tuple(served),
            hosts=hosts,
            by_host={one.backend.host: one for one in backends if not one.conflicted and not _listed(one, hosts)},
            gateway_chain=gateway_chain,
            extensions=tuple(extensions),
            findings=self.findings.sorted(),
            needs=Needs(),
            outside=self.made,
        )
        rerouting.judge(resolved, self.errors)
        self.errors.check()
        past_routes.judge(resolved, self.findings)
        needs = needs_of([chain for _, _, chain in resolved.chains()])
        return replace(resolved, needs=needs, findings=self.findings.sorted())


def _listed(served: ServedBackend, hosts: Mapping[str, object]) -> bool:
    """Whether HTTPRoutes decide about its host."""
    return any(pattern in hosts for pattern in patterns(served.backend.host))


def _in(origin: Origin, place: Place) -> Place:
    return origin.place(*undotted(place.field))
