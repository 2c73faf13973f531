"""Where extensions choose routes: what a configuration must keep, so that no request escapes its chain (core.reroute).

Envoy chooses anew when most of the chain has run. So all rules that it can choose among want the same of an exchange, and
differ in what they want of its tries.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from extproc.core.chain import Chain
from extproc.core.phase import UPSTREAM_PHASES, Phase
from extproc.errors import Place
from extproc.policy.build import Extension
from extproc.policy.places import Errors
from extproc.policy.resolved import Entry, Resolved, Rule

REASON: Final = "AmbiguousBackend"


def judge(resolved: Resolved, errors: Errors) -> None:
    """Everything about extensions that choose routes; what is wrong goes to `errors`."""
    if not resolved.routing_headers:
        return
    for _, _, chain in resolved.chains():
        _judge_credentials(resolved, chain, errors)
        _judge_proof(resolved, chain, errors)
    places = {route.route: route.place for route in resolved.routes}
    for name, entries in resolved.hosts.items():
        host = _Host(resolved, name, entries, places[entries[0].rule.route], errors)
        if host.headers:
            host.judge()


def _judge_credentials(resolved: Resolved, chain: Chain, errors: Errors) -> None:
    """A credential that is set before the route is chosen for good could go along to another Backend."""
    chooser = next((link for link in chain.links if link.reroutes), None)
    for link in chain.links if chooser else ():
        if link.phase is Phase.REQUEST_HEADERS and getattr(link.filter, "releases_credentials", False):
            extension, name = resolved.extension_of(link), chooser.name if chooser else ""
            errors.add(
                f"{extension.attachment.title} releases a credential in request-headers, and the extension {name!r} chooses"
                " the route anew after that: use the phase backend-request (with `upstreamPass: true`), or say"
                f" `clearRouteCache: false` at {name!r}",
                extension.attachment.place("phase"),
                REASON,
            )


def _judge_proof(resolved: Resolved, chain: Chain, errors: Errors) -> None:
    """What routes are chosen by is taken from every caller before anybody looks: nobody could say who they are by it."""
    for link in chain.links:
        if taken := link.reroutes & chain.proof:
            attachment = resolved.extension_of(link).attachment
            errors.add(
                f"{attachment.title} chooses routes by {_shown(taken)}, which the authenticator reads: name another header",
                attachment.place("config"),
            )


@dataclass(slots=True)
class _Host:
    """The rules for one host. `headers` are those that they match on and that an extension sets."""

    resolved: Resolved
    name: str
    entries: tuple[Entry, ...]
    place: Place
    errors: Errors
    headers: frozenset[str] = field(init=False)
    chains: tuple[Mapping[int, Extension], ...] = field(init=False)

    def __post_init__(self) -> None:
        matched = frozenset(name for entry in self.entries for name, _ in entry.match.headers)
        self.headers = matched & self.resolved.routing_headers
        rules = {id(entry.rule): entry.rule for entry in self.entries if entry.rule.destinations}
        self.chains = tuple(self._before_tries(chain) for rule in rules.values() for chain in _chains(rule))

    @property
    def shown(self) -> str:
        return _shown(self.headers)

    def judge(self) -> None:
        if all(self.headers.intersection(name for name, _ in entry.match.headers) for entry in self.entries):
            message = (
                f"every rule for the host {self.name} matches on {self.shown}, which no request has before an extension sets"
                " it: add a rule without that match, for requests that name nothing you know"
            )
            self.errors.add(message, self.place, "NoDefaultRule")
        extensions = {number: one for chain in self.chains for number, one in chain.items()}
        unset = self.headers.difference(*(one.link.reroutes for one in extensions.values()))
        if self.chains and unset:
            message = (
                f"rules for the host {self.name} match on {_shown(unset)}, and what sets it does not run there: attach it to"
                " the Gateway"
            )
            self.errors.add(message, self.place, REASON)
        for number, extension in extensions.items():
            self._judge_extension(extension, everywhere=all(number in chain for chain in self.chains))

    def _judge_extension(self, extension: Extension, *, everywhere: bool) -> None:
        title, depends = extension.attachment.title, f"which rule for the host {self.name} a request meets depends on"
        words = sorted({"route", "backend"} & extension.names)
        if not everywhere:
            message = (
                f"{depends} {self.shown}, and {title} runs before that is known, for some of them only: attach it to the"
                " Gateway, or let it run at connect, backend-request or backend-response"
            )
        elif words:
            message = f"{title} names `{words[0]}` in an expression and runs before it is known: {depends} {self.shown}"
        else:
            return
        self.errors.add(message, extension.attachment.place("name"), REASON)

    def _before_tries(self, chain: Chain) -> Mapping[int, Extension]:
        links = [link for link in chain.links if link.phases - UPSTREAM_PHASES]
        return {id(link): self.resolved.extension_of(link) for link in links}


def _shown(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _chains(rule: Rule) -> Iterator[Chain]:
    if rule.fallback:
        yield rule.undecided
    yield from (one.chain for one in rule.destinations)
