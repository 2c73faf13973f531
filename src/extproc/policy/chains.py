"""Chains, made once for each route and Backend and judged: who authenticates, in which order, and where credentials go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from extproc.core.chain import Chain
from extproc.core.link import Scope
from extproc.core.peer import Backend, Route
from extproc.core.phase import UPSTREAM_PHASES, Phase
from extproc.errors import Place
from extproc.policy.build import Extension
from extproc.policy.documents import FQDN, ExtProcConfiguration
from extproc.policy.findings import Findings
from extproc.policy.merge import merge
from extproc.policy.places import Errors
from extproc.policy.read import Document

Key = tuple[Route | None, Backend | None]


@dataclass(slots=True)
class Chains:
    """Makes chains from the extensions of each object. What is wrong goes to `errors`, conflicts to `findings`."""

    settings: Document[ExtProcConfiguration]
    extensions: Mapping[tuple[Scope, str], Sequence[Extension]]
    errors: Errors
    findings: Findings
    _merged: dict[Key, tuple[tuple[Extension, ...], Chain]] = field(default_factory=dict)

    def chain(self, route: Route | None, backend: Backend | None, fqdn: FQDN | None = None) -> Chain:
        """The chain of exchanges of that route (or of none) with that Backend (or with none)."""
        return self._of(route, backend, fqdn)[1]

    def of_each_try(self, route: Route, backend: Backend) -> list[Extension]:
        """Those of that chain that would have to know the Backend before Envoy has chosen one for a try."""
        extensions = self._of(route, backend, None)[0]
        return [one for one in extensions if one.link.phases - UPSTREAM_PHASES and _depends_on_backend(one)]

    def releasing(self, route: Route, backend: Backend) -> list[Extension]:
        """Those of that chain that give a credential to that Backend in request-headers."""
        extensions = self._of(route, backend, None)[0]
        return [one for one in extensions if releases(one, backend) and one.link.phase is Phase.REQUEST_HEADERS]

    def _of(
        self, route: Route | None, backend: Backend | None, fqdn: FQDN | None
    ) -> tuple[tuple[Extension, ...], Chain]:
        key = route, backend
        if key not in self._merged:
            found = list(self.extensions.get((Scope.GATEWAY, self.settings.model.gateway), ()))
            if backend is not None:
                found += self.extensions.get((Scope.BACKEND, str(backend)), ())
            if route is not None:
                found += self.extensions.get((Scope.ROUTE, str(route)), ())
            extensions = self._merge(found)
            self._judge(extensions, backend, fqdn)
            if key == (None, None) and self.settings.model.traffic_policy == "Allow":
                self._judge_nowhere(extensions)
            authentication = self.settings.model.authentication == "required"
            self._merged[key] = extensions, Chain(tuple(one.link for one in extensions), authentication)
        return self._merged[key]

    def _merge(self, found: list[Extension]) -> tuple[Extension, ...]:
        merged = merge(found)
        self.errors.extend(merged.errors)
        for loss in merged.losses:
            self.findings.conflicted(loss.message, loss.loser.attachment.place("name"))
        return merged.extensions

    def _judge(self, extensions: tuple[Extension, ...], backend: Backend | None, fqdn: FQDN | None) -> None:
        authenticators = sorted((one for one in extensions if one.link.authenticates), key=lambda one: one.link.order)
        for extra in authenticators[1:]:
            first = authenticators[0].attachment
            self.errors.add(
                f"{extra.attachment.title} is a second authenticator: a chain has at most one, and {first.title} is it",
                extra.attachment.place("type"),
                "SecondAuthenticator",
            )
        if authenticators:
            self._judge_order(extensions, authenticators[0])
        if backend is not None and fqdn is not None and fqdn.tls.mode == "NONE":
            self._judge_plaintext(extensions, backend)

    def _judge_order(self, extensions: tuple[Extension, ...], authenticator: Extension) -> None:
        for one in extensions:
            link = one.link
            early = Phase.REQUEST_HEADERS in link.phases and link.order < authenticator.link.order
            if early and not link.pre_auth:
                self.errors.add(
                    f"{one.attachment.title} runs before the authenticator {authenticator.name!r} (priority"
                    f" {authenticator.link.priority}): give it a higher priority, or `preAuth: true` if it needs no peer",
                    one.attachment.place("priority"),
                    "OrderBeforeAuthentication",
                )

    def _judge_plaintext(self, extensions: tuple[Extension, ...], backend: Backend) -> None:
        for one in extensions:
            if releases(one, backend) and not getattr(one.link.filter, "allow_plaintext", False):
                self.errors.add(
                    f"{one.attachment.title} would send a credential to the Backend {backend} in plaintext (its tls mode is"
                    " NONE): use SIMPLE, or say `allowPlaintext: true` in the extension's config",
                    one.attachment.place("config"),
                    "PlaintextCredential",
                )

    def _judge_nowhere(self, extensions: tuple[Extension, ...]) -> None:
        """A host with no Backend has no cluster of its own, and so no upstream pass."""
        for one in extensions:
            if phases := sorted(one.link.phases & UPSTREAM_PHASES):
                self.errors.add(
                    f"{one.attachment.title} runs at {phases[0]}, which hosts with no Backend never reach: attach it to"
                    " Backends, or say `trafficPolicy: Deny`",
                    one.attachment.place("phase"),
                    "PhaseNotServed",
                )


def _depends_on_backend(extension: Extension) -> bool:
    return extension.link.scope is Scope.BACKEND or "backend" in getattr(extension.link.when, "names", ())


def releases(extension: Extension, backend: Backend) -> bool:
    """Whether it gives credentials to that Backend. A filter that says for which (`backends`) is believed."""
    found = extension.link.filter
    only = getattr(found, "backends", None)
    return bool(getattr(found, "releases_credentials", False)) and (not only or str(backend) in only)


def refuse_missing_authenticator(
    settings: Document[ExtProcConfiguration], extensions: tuple[Extension, ...], errors: Errors
) -> None:
    """`authentication` says whether this Gateway has an authenticator: it has one exactly then."""
    place: Place = settings.origin.place("authentication")
    authenticator = next((one for one in extensions if one.link.authenticates), None)
    if settings.model.authentication == "none" and authenticator is not None:
        errors.add(
            f"`authentication: none` says that this Gateway has no authenticator, and {authenticator.attachment.title} is"
            " one: remove either",
            place,
        )
    if settings.model.authentication == "required" and not any(one.may_authenticate for one in extensions):
        errors.add(
            f"no extension at the Gateway {settings.model.gateway} is an authenticator: attach one (such as TokenReview:v1),"
            " or say `authentication: none` if nobody is to be authenticated on purpose",
            place,
            "NoAuthenticator",
        )
