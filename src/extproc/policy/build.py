"""One attached extension becomes one link: its filter built, its `when` compiled, its place in the document kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from extproc.core.filter import Authenticator, Filter
from extproc.core.link import Degraded, Link, Scope
from extproc.core.phase import UPSTREAM_PHASES, Phase
from extproc.errors import ConfigError, Place, Refused
from extproc.policy.attach import Attachment
from extproc.policy.catalog import Catalog, check_built
from extproc.policy.documents import ExtProcConfiguration
from extproc.policy.findings import Findings
from extproc.policy.guard import Guarded, refuse_peer
from extproc.policy.places import Errors, undotted
from extproc.policy.sentences import config_errors
from extproc.ports import Expression, FilterContext, Outside

LAST: Final = 2**31 - 1
"""After every other extension of its phase."""


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension that is ready to run. `degraded` says why it cannot, or is empty; `needs` are the dependencies without
    which it cannot decide, `names` the variables that its expressions mention.
    """

    attachment: Attachment
    link: Link
    degraded: str = ""
    needs: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.attachment.spec.name

    @property
    def may_authenticate(self) -> bool:
        """Whether it is an authenticator, or could be one if its type were known."""
        return self.link.authenticates or bool(self.degraded and self.attachment.spec.pre_auth)


@dataclass(slots=True)
class Builder:
    """Builds each attachment. What is wrong goes to `errors`, what is only degraded to `findings`."""

    settings: ExtProcConfiguration
    catalog: Catalog
    outside: Outside
    errors: Errors
    findings: Findings

    def build(self, attachment: Attachment) -> Extension | None:
        """The extension, or None if something is wrong with it."""
        before = len(self.errors.found)
        when = self._when(attachment)
        kind = self._kind(attachment)
        if len(self.errors.found) > before:
            return None
        if kind is None:
            return self._unsupported(attachment, when)
        if attachment.spec.phase not in kind.phases:
            self._refuse_phase(attachment, kind)
            return None
        guarded = Guarded(self.outside, self.settings, attachment.namespace, pre_auth=attachment.spec.pre_auth)
        built = self._filter(attachment, kind, guarded)
        if built is None:
            return None
        authenticates = isinstance(built, Authenticator)
        if authenticates:
            self._check_authenticator(attachment, when, guarded)
        link = self._link(attachment, built, when, pre_auth=authenticates or attachment.spec.pre_auth)
        self._check_places(attachment, link)
        self._check_reach(attachment, link)
        if len(self.errors.found) > before:
            return None
        names = guarded.names | (when.names if when else frozenset())
        return self._served(Extension(attachment, link, needs=guarded.needs, names=names))

    def _kind(self, attachment: Attachment) -> type[Any] | None:
        try:
            return self.catalog.find(attachment.spec.type)
        except ConfigError as error:
            self.errors.add(error.message, attachment.place("type"), error.reason)
            return None

    def _when(self, attachment: Attachment) -> Expression | None:
        if attachment.spec.when is None:
            return None
        try:
            expression = self.outside.expression(attachment.spec.when)
            if attachment.spec.pre_auth:
                refuse_peer(expression)
        except ConfigError as error:
            self.errors.add(error.message, attachment.place("when"))
            return None
        return expression

    def _refuse_phase(self, attachment: Attachment, kind: type[Any]) -> None:
        known = ", ".join(phase for phase in Phase if phase in kind.phases)
        message = f"{attachment.spec.type} does not run at {attachment.spec.phase}: it runs at {known}"
        self.errors.add(message, attachment.place("phase"), "UnsupportedPhase")

    def _filter(self, attachment: Attachment, kind: type[Any], guarded: Guarded) -> Filter | None:
        try:
            built: Filter = kind(_config(attachment, kind), self._context(attachment, guarded))
            check_built(built, attachment.spec.type)
        except Refused as refused:
            self.errors.extend(refused.errors)
        except ConfigError as error:
            self.errors.add(error.message, _place(attachment, error.place), error.reason)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - other people's code; its text may hold what it was given
            what = f"{attachment.spec.type} could not be built: {type(error).__name__} in its constructor or its Config"
            self.errors.add(what, attachment.place("config"))
        else:
            return built
        return None

    def _context(self, attachment: Attachment, guarded: Guarded) -> FilterContext:
        spec = attachment.spec
        return FilterContext(
            gateway=self.settings.gateway,
            scope=attachment.scope_name,
            extension=spec.name,
            namespace=attachment.namespace,
            phase=spec.phase,
            fail_open=spec.fail_open,
            pre_auth=spec.pre_auth,
            directory=attachment.origin.directory,
            outside=guarded,
        )

    def _check_authenticator(self, attachment: Attachment, when: Expression | None, guarded: Guarded) -> None:
        """DESIGN section 5: at Gateway scope, never overridable, always preAuth."""
        if attachment.scope is not Scope.GATEWAY:
            self.errors.add(
                f"{attachment.spec.type} is an authenticator: only an EgressPolicy that targets the Gateway attaches one",
                attachment.place("type"),
                "AuthenticatorScope",
            )
        if attachment.spec.phase is not Phase.REQUEST_HEADERS:
            self.errors.add("an authenticator runs at request-headers", attachment.place("phase"), "UnsupportedPhase")
        if attachment.spec.overridable:
            self.errors.add("an authenticator is never overridable: remove this", attachment.place("overridable"))
        for field, names in (("when", when.names if when else frozenset()), ("config", guarded.names)):
            if "peer" in names:
                self.errors.add(
                    "an authenticator establishes the peer: its expressions cannot name `peer`", attachment.place(field)
                )

    def _check_places(self, attachment: Attachment, link: Link) -> None:
        """What a try may have left must be known, or it goes along to the next Backend."""
        releases = getattr(link.filter, "releases_credentials", False)
        known = any(getattr(link.filter, name, ()) for name in ("sets_headers", "sets_query"))
        if releases and link.phases & UPSTREAM_PHASES and not known:
            self.errors.add(
                f"{attachment.spec.type} releases credentials at each try and does not say where: its class needs"
                " `sets_headers` or `sets_query`, the names that are emptied before the next try",
                attachment.place("type"),
            )

    def _check_reach(self, attachment: Attachment, link: Link) -> None:
        """By which headers routes are chosen is the Gateway's affair: whoever calls loses them, whichever Backend it calls."""
        ours = self.settings.gateway_namespace
        if link.reroutes and attachment.namespace != ours:
            self.errors.add(
                f"{attachment.title} chooses routes by {', '.join(sorted(link.reroutes))}, which would be taken from all"
                f" callers of the Gateway: that is for policies of the namespace {ours}. With `clearRouteCache: false` the"
                " header only goes along",
                attachment.place("config"),
                "NotPermitted",
            )

    @staticmethod
    def _link(attachment: Attachment, built: Filter, when: Expression | None, *, pre_auth: bool) -> Link:
        spec = attachment.spec
        return Link(
            spec.name, spec.phase, built, spec.priority, attachment.scope, spec.covers, pre_auth, spec.timeout, when
        )  # fmt: skip

    def _unsupported(self, attachment: Attachment, when: Expression | None) -> Extension:
        reason = "UnsupportedExtensionType"
        message = f"{attachment.title}: nothing is installed for the type {attachment.spec.type!r}; {_consequence(attachment)}"
        self.findings.degraded(message, attachment.place("type"), reason)
        link = self._link(attachment, Degraded(reason), when, pre_auth=attachment.spec.pre_auth)
        return self._served(Extension(attachment, link, reason))

    def _served(self, extension: Extension) -> Extension:
        """`extension`, or its stand-in in request-headers if one of its phases is never reached: it fails there, last."""
        attachment, link = extension.attachment, extension.link
        unserved = sorted(link.phases & UPSTREAM_PHASES)
        if not unserved or self.settings.upstream_pass:
            return extension
        reason = "PhaseNotServed"
        message = f"{attachment.title}: {unserved[0]} needs the upstream pass, which is off; {_consequence(attachment)}"
        self.findings.degraded(message, attachment.place("phase"), reason)
        standing_in = replace(link, phase=Phase.REQUEST_HEADERS, filter=Degraded(reason), priority=LAST)
        return Extension(attachment, standing_in, reason)


def _config(attachment: Attachment, kind: type[Any]) -> Any:
    """Raises: Refused, with each field that is wrong."""
    try:
        return kind.Config.model_validate(attachment.spec.config)
    except ValidationError as error:
        raise Refused(config_errors(error, kind.Config, attachment.origin, attachment.within("config"))) from error


def _consequence(attachment: Attachment) -> str:
    """What happens to an exchange that meets a degraded extension."""
    covered = "unsupported" in attachment.spec.covers
    return "its failOpen skips it" if covered else "its exchanges are answered 503"


def _place(attachment: Attachment, place: Place) -> Place:
    """Where a filter's complaint belongs: a field of its config, or another file that it read."""
    if place.file:
        return place
    steps = undotted(place.field)
    if steps[:1] not in (("config",), ("when",), ("phase",), ("failOpen",), ("preAuth",), ("timeout",), ("priority",)):
        steps = ("config", *steps)
    return attachment.place(*steps)


def by_scope(extensions: list[Extension]) -> Mapping[tuple[Scope, str], Sequence[Extension]]:
    """The extensions of each object."""
    found: dict[tuple[Scope, str], list[Extension]] = {}
    for extension in extensions:
        found.setdefault((extension.attachment.scope, extension.attachment.target), []).append(extension)
    return found
