"""`extproc explain`: what the chain would do with one request. Nothing is sent, and nothing is counted."""

import asyncio
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import quote, urlsplit

import typer

from extproc.cli.options import AsJson, Config
from extproc.compose import configure
from extproc.core.admission import Admission
from extproc.core.chain import Chain
from extproc.core.engine import Engine, Selection
from extproc.core.event import BodyMode, Event, Outcome, Record
from extproc.core.exchange import Exchange
from extproc.core.filter import Authenticator
from extproc.core.headers import Headers, apply, text
from extproc.core.link import Link
from extproc.core.message import Request, read_request
from extproc.core.peer import Peer
from extproc.core.phase import Direction, Part, Phase
from extproc.core.session import Session
from extproc.core.verdict import Continue, Respond, Verdict
from extproc.policy.resolved import Resolved
from extproc.wire.codec import mask
from extproc.wire.pace import PACE, settled

SETTLING = 2.0
"""Seconds to wait for what the extensions settle when the exchange is over."""

NAME = "explain"
NEEDS_ARGUMENTS = True


def command(
    url: Annotated[str, typer.Argument(metavar="URL", help="What the workload asks for.")],
    config: Config,
    method: Annotated[
        str | None, typer.Option("-X", "--request", metavar="METHOD", help="GET, or POST with -d.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("-H", "--header", metavar="NAME: VALUE", help="As with curl.")
    ] = None,
    data: Annotated[str | None, typer.Option("-d", "--data", help="The body; @FILE reads it from there.")] = None,
    as_: Annotated[
        str | None, typer.Option("--as", metavar="NS/SA", help="Take the caller for this ServiceAccount.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="Envoy's cluster, where a rule has several Backends.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask the real dependencies.")] = False,
    as_json: AsJson = False,
) -> None:
    """Which chain a request meets, what each extension decides, and what leaves."""
    resolved = configure(config, live=live)
    policy = Explained(resolved, _peer(as_) if as_ else None)
    request = _fields(url, method or ("POST" if data is not None else "GET"), header or [], data)
    found = asyncio.run(_asked(resolved, policy, request, _body(data), cluster))
    typer.echo(json.dumps(found, indent=2) if as_json else _shown(found))


@dataclass(slots=True)
class Explained:
    """A policy whose authenticator, if `peer` is said, takes everybody for that peer; and which remembers its answer."""

    inner: Resolved
    peer: Peer | None
    gateway: str = field(init=False)
    budget: float = field(init=False)
    identity_headers: frozenset[str] = field(init=False)
    request_trailers: frozenset[str] = field(init=False)
    selection: Selection | None = None
    routing_headers: frozenset[str] = field(init=False)
    _links: dict[int, Link] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.routing_headers = self.inner.routing_headers
        self.gateway, self.budget = self.inner.gateway, self.inner.budget
        self.identity_headers, self.request_trailers = self.inner.identity_headers, self.inner.request_trailers

    def select(self, request: Request, cluster: str) -> Selection | Respond:
        return self._asked(self.inner.select(request, cluster))

    def select_again(self, request: Request) -> Selection | Respond | None:
        found = self.inner.select_again(request)
        return None if found is None else self._asked(found)

    def _asked(self, found: Selection | Respond) -> Selection | Respond:
        if isinstance(found, Selection):
            self.selection = replace(found, chain=self._as_peer(found.chain))
            return self.selection
        return found

    def _as_peer(self, chain: Chain) -> Chain:
        if self.peer is None:
            return chain
        return Chain(tuple(self._link(link, self.peer) for link in chain.links), chain.authentication)

    def _link(self, link: Link, peer: Peer) -> Link:
        """The same link in all chains, as it is in those of the configuration."""
        if link.authenticator is None:
            return link
        return self._links.setdefault(id(link), replace(link, filter=_Known(link.authenticator, peer)))


class _Known:
    """Stands in for the authenticator: the same headers, and one peer."""

    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS})

    def __init__(self, instead_of: Authenticator, peer: Peer) -> None:
        self.reads, self._peer = instead_of.reads, peer

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - the protocol's signature
        return Continue(facts=(self._peer,))


def _peer(name: str) -> Peer:
    namespace, slash, account = name.partition("/")
    if not (namespace and slash and account) or "/" in account:
        raise typer.BadParameter("write namespace/name of a ServiceAccount", param_hint="--as")
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return Peer(f"system:serviceaccount:{namespace}:{account}", "", groups, namespace, account)


def _fields(url: str, method: str, headers: list[str], data: str | None) -> Headers:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError as error:
        raise typer.BadParameter(f"{url!r} is no URL: {error}", param_hint="URL") from error
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    pseudo = {":method": method, ":scheme": parts.scheme, ":authority": parts.netloc, ":path": target}
    given = [_header(each) for each in headers]
    names = {name for name, _ in given}
    if data is not None and "content-type" not in names:
        given.append(("content-type", b"application/x-www-form-urlencoded"))
    if data is not None:
        given.append(("content-length", str(len(_body(data) or b"")).encode()))
    host = [value for name, value in given if name == "host"]
    if host:
        pseudo[":authority"] = host[-1].decode("latin-1")
    rest = [(name, value) for name, value in given if name != "host"]
    return Headers([*((name, os.fsencode(value)) for name, value in pseudo.items()), *rest])


def _header(line: str) -> tuple[str, bytes]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"{line!r} is no header: write NAME: VALUE", param_hint="-H")
    return name.strip().lower(), os.fsencode(value.strip())


def _body(data: str | None) -> bytes | None:
    if data is None or not data.startswith("@"):
        return None if data is None else os.fsencode(data)
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{data[1:]}: {error.strerror}", param_hint="-d") from error


async def _asked(
    resolved: Resolved, policy: "Explained", fields: Headers, body: bytes | None, cluster: str | None
) -> dict[str, Any]:
    try:
        return await _play(policy, fields, body, cluster)
    finally:
        if resolved.outside is not None:
            await resolved.outside.close()


async def _play(policy: Explained, fields: Headers, body: bytes | None, cluster: str | None) -> dict[str, Any]:
    """Play the exchange as Envoy would, up to what leaves."""
    records: list[Record] = []
    routing = policy if policy.routing_headers else None
    session = Session(Engine(policy, PACE, Admission(), mask, records.append, routing=routing))
    attributes = {
        "xds.cluster_name": cluster if cluster is not None else _cluster(policy, fields),
        "source.address": "",
    }
    strictest = (BodyMode.BUFFERED, BodyMode.BUFFERED)
    first = Event(Direction.REQUEST, Part.HEADERS, fields, b"", body is None, attributes, strictest)
    outcomes = [*await session.step(first)]
    if body is not None and not outcomes[0].respond:
        outcomes += await session.step(Event(Direction.REQUEST, Part.BODY, body=body, end=True))
    session.close()
    await settled(SETTLING)
    return _told(policy, attributes["xds.cluster_name"], fields, body, outcomes, records[0])


def _cluster(policy: Explained, fields: Headers) -> str:
    """The cluster that Envoy would have chosen, where there is only one choice."""
    request = read_request(fields)
    found = policy.inner.select(request, "") if isinstance(request, Request) else None
    return min(found.backend.clusters, default="") if isinstance(found, Selection) and found.backend else ""


def _told(
    policy: Explained, cluster: str, fields: Headers, body: bytes | None, outcomes: list[Outcome], record: Record
) -> dict[str, Any]:
    words = {(d.extension, d.phase): d.word for d in record.decisions}
    words |= {(s.extension, s.phase): f"skipped ({s.cause}: {s.reason})" for s in record.skips}
    chain = policy.selection.chain if policy.selection else Chain()
    found: dict[str, Any] = {
        "route": record.route,
        "backend": record.backend,
        "cluster": cluster,
        "peer": {"namespace": record.namespace, "serviceAccount": record.service_account},
        "chain": [
            {
                "phase": phase,
                "extension": link.name,
                "priority": link.priority,
                "scope": link.scope.name.capitalize(),
                "decision": words.get((link.name, phase), "not run"),
            }
            for phase in Phase
            for link in chain.at(phase)
        ],
    }
    if respond := outcomes[-1].respond:
        answer = {"status": respond.status, "code": respond.code, "reason": respond.reason}
        return {**found, "answer": answer, "extension": record.extension}
    return {**found, "leaves": _leaves(fields, body, outcomes)}


def _leaves(fields: Headers, body: bytes | None, outcomes: list[Outcome]) -> dict[str, Any]:
    """The request as the upstream gets it; a secret shows as `***`."""
    path = fields.get(":path") or ""
    for outcome in outcomes:
        fields = apply(outcome.change, fields)
        path = path if outcome.path is None else outcome.path + _hidden(outcome)
        body = body if outcome.body is None else outcome.body
    return {
        "method": fields.get(":method"),
        "path": path,
        "headers": [[name, text(value)] for name, value in fields if not name.startswith(":")],
        "body": None if body is None else body.decode("utf-8", "replace"),
    }


def _hidden(outcome: Outcome) -> str:
    joined = "&".join(f"{quote(name, safe='')}=***" for name, _ in outcome.hidden_query)
    if not joined:
        return ""
    return f"{'&' if '?' in (outcome.path or '') else '?'}{joined}"


def _shown(found: dict[str, Any]) -> str:
    peer = found["peer"]
    caller = f"{peer['namespace']}/{peer['serviceAccount']}" if peer["namespace"] else "nobody"
    lines = [
        f"caller   {caller}",
        f"route    {found['route'] or 'none'}",
        f"backend  {found['backend'] or 'none'}" + (f" (cluster {found['cluster']})" if found["cluster"] else ""),
        "chain",
        *(
            f"  {link['phase']:16} {link['priority']:>5}  {link['scope']:8} {link['extension']:24} {link['decision']}"
            for link in found["chain"]
        ),
    ]
    if answer := found.get("answer"):
        lines.append(f"answer   {answer['status']} {answer['code']}  {answer['reason']}")
        return "\n".join(lines)
    leaves = found["leaves"]
    lines += ["leaves", f"  {leaves['method']} {leaves['path']}"]
    lines += [f"  {name}: {value}" for name, value in leaves["headers"]]
    return "\n".join([*lines, "", leaves["body"]] if leaves["body"] is not None else lines)
