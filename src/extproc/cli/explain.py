"""`extproc explain`: what the chain would do with one request. Nothing is sent, and nothing is counted."""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from extproc.cli.options import AsJson, Config
from extproc.cli.playing import play
from extproc.compose import configure
from extproc.core.headers import FIELD_VALUE, TOKEN, Headers
from extproc.core.peer import Peer
from extproc.policy.names import LABEL, SUBDOMAIN

DATA_HELP = "The body; @FILE reads it from there. As with curl it is a form, unless -H says the content-type."

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
    data: Annotated[str | None, typer.Option("-d", "--data", help=DATA_HELP)] = None,
    as_: Annotated[
        str | None, typer.Option("--as", metavar="NS/SA", help="Take the caller for this ServiceAccount.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="Envoy's cluster, where a rule has several Backends.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask the real dependencies.")] = False,
    as_json: AsJson = False,
) -> None:
    """Which chain a request meets, what each extension decides, and what leaves."""
    resolved = configure(config, live=live)
    peer = _peer(as_) if as_ else None
    request = _fields(url, method or ("POST" if data is not None else "GET"), header or [], data)
    found = asyncio.run(play(resolved, peer, request, _body(data), cluster))
    typer.echo(json.dumps(found, indent=2) if as_json else _shown(found))


def _peer(name: str) -> Peer:
    namespace, _, account = name.partition("/")
    if not (LABEL.fullmatch(namespace) and SUBDOMAIN.fullmatch(account)):
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
    given = name.strip().lower(), os.fsencode(value.strip(" \t"))
    if not colon or not TOKEN.fullmatch(given[0]) or not FIELD_VALUE.fullmatch(given[1]):
        raise typer.BadParameter(f"{line!r} is no header: write NAME: VALUE", param_hint="-H")
    return given


def _body(data: str | None) -> bytes | None:
    if data is None or not data.startswith("@"):
        return None if data is None else os.fsencode(data)
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{data[1:]}: {error.strerror}", param_hint="-d") from error


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
    if reports := found["reports"]:
        lines += ["reports", *(f"  {name:33}{_counts(report)}" for name, report in reports.items())]
    if answer := found.get("answer"):
        lines.append(f"answer   {answer['status']} {answer['code']}  {answer['reason']}")
        return "\n".join(lines)
    leaves = found["leaves"]
    lines += ["leaves", f"  {leaves['method']} {leaves['path']}"]
    lines += [f"  {name}: {value}" for name, value in leaves["headers"]]
    return "\n".join([*lines, "", leaves["body"]] if leaves["body"] is not None else lines)


def _counts(report: Mapping[str, int | str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in report.items())
