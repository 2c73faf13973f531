"""A configuration that a page shows in part becomes a whole one.

What a block leaves out is what the pages' running example has: the Gateway `egress/egress`, a Backend `egress/openai`, a
source of secrets `provider-keys`, an authenticator with static tokens. What it says itself is never changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from extproc.policy.documents import BackendSpec, ExtProcConfiguration
from extproc.policy.read import KINDS
from extproc.schema import Model

Document = dict[str, Any]

VERSION: Final = "egress.extproc.dev/v1alpha1"
OURS: Final = {kind: version for version, kind in reversed(KINDS)}
"""Each kind that is read, with the version that stands first."""


def fields(model: type[Model]) -> frozenset[str]:
    """As they are written."""
    return frozenset(field.alias or name for name, field in model.model_fields.items())


SETTINGS: Final = fields(ExtProcConfiguration)
BACKEND: Final = fields(BackendSpec)
FRAGMENTS: Final = ({"rules"}, {"extensions"}, {"spec"})

CONNECTIONS: Final = {
    "redis": {"url": "redis://127.0.0.1:6379/0"},
    "vault": {"address": "http://127.0.0.1:8200", "auth": {"token": {"path": "vault-token"}}},
}
TOKENS: Final = """\
tokens:
- token: demo-token
  username: system:serviceaccount:ai-workloads:default
  uid: 11111111-1111-1111-1111-111111111111
  groups: [system:serviceaccounts]
  audiences: [egress]
"""
AUTHN: Final = {
    "name": "authn",
    "type": "TokenReview:v1",
    "phase": "request-headers",
    "config": {"reviewer": {"static": {"path": "tokens.yaml"}}, "audiences": ["egress"]},
}
STAND_IN: Final = "stand_in:Anything"
"""Where other people's types are found, unless a page says where."""

AT_BACKEND: Final = frozenset({"CredentialInjector:v1", "PIIDetector:v1"})
UPSTREAM: Final = frozenset({"connect", "backend-request", "backend-response"})


def is_ours(document: object) -> bool:
    """Whether extproc would read it, or a part of what it reads."""
    if isinstance(document, list):
        return bool(document) and all(map(_is_extension, document))
    if not isinstance(document, dict):
        return False
    if "kind" in document:
        version = document.get("apiVersion", "egress.extproc.dev")
        return document["kind"] in OURS and str(version).startswith(("egress.extproc.dev", "gateway.networking.k8s.io"))
    return _is_extension(document) or set(document) <= SETTINGS or set(document) in FRAGMENTS


def _is_extension(document: object) -> bool:
    return isinstance(document, dict) and {"type", "phase"} <= set(document)


def completed(documents: Sequence[Any], folder: Path) -> Path:
    """A configuration in `folder` that holds `documents` and what they leave out; the files that it refers to are there too."""
    (folder / "secrets").mkdir()
    (folder / "tokens.yaml").write_text(TOKENS)
    (folder / "vault-token").write_text("no-real-token")
    whole = list(_whole(documents))
    file = folder / "extproc.yaml"
    file.write_text(yaml.safe_dump_all(whole, sort_keys=False))
    return file


def _whole(documents: Sequence[Any]) -> Iterator[Document]:
    settings: Document = {}
    others: list[Document] = []
    loose: list[Document] = []
    for document in documents:
        if isinstance(document, list):
            loose += document
        elif _is_extension(document):
            loose.append(document)
        elif document.get("kind") == "ExtProcConfiguration" or ("kind" not in document and set(document) <= SETTINGS):
            settings = document
        elif "kind" in document:
            others.append(_named(document))
        elif set(document) == {"extensions"}:
            loose += document["extensions"]
        elif set(document) <= BACKEND:
            others.append(_named({"kind": "Backend", "spec": document}))
        else:
            others.append(_route(document))
    yield from _rest(settings, others, [{"name": "shown", **extension} for extension in loose])


def _rest(settings: Document, others: list[Document], loose: list[Document]) -> Iterator[Document]:
    everything = [*loose, *(each for one in others for each in one["spec"].get("extensions", ()))]
    at_gateway = [each for each in loose if each["type"] not in AT_BACKEND]
    authenticates = any(each["type"] == AUTHN["type"] for each in everything) or "authentication" in settings
    policy = [*([] if authenticates else [AUTHN]), *at_gateway]
    names = _backends(settings, others)
    present = {_key(one) for one in others if one["kind"] == "Backend"}
    others += [_named({"kind": "Backend", "metadata": _metadata(name)}) for name in names if name not in present]
    for extension in loose:
        if extension not in at_gateway:
            next(one for one in others if one["kind"] == "Backend")["spec"].setdefault("extensions", []).append(
                extension
            )
    yield _configuration(settings, everything, names)
    if policy:
        yield _policy(policy)
    yield from others


def _configuration(settings: Document, extensions: Sequence[Document], backends: Sequence[str]) -> Document:
    base: Document = {
        "apiVersion": VERSION,
        "kind": "ExtProcConfiguration",
        "gateway": "egress/egress",
        "secretSources": {"provider-keys": {"file": {"root": "secrets"}, "backends": list(backends)}},
        "connections": CONNECTIONS,
        "upstreamPass": any(each.get("phase") in UPSTREAM for each in extensions),
        "filters": {each["type"]: STAND_IN for each in extensions if "/" in each["type"]},
    }
    connections = {**CONNECTIONS, **settings.get("connections", {})}
    return settings if "gateway" in settings else {**base, **settings, "connections": connections}


def _policy(extensions: Sequence[Document]) -> Document:
    return {
        "apiVersion": VERSION,
        "kind": "EgressPolicy",
        "metadata": {"name": "around-it", "namespace": "egress"},
        "spec": {"targetRefs": [{"kind": "Gateway", "name": "egress"}], "extensions": list(extensions)},
    }


def _backends(settings: Document, others: Sequence[Document]) -> list[str]:
    """Every Backend that something refers to, and one at least."""
    named = [name for source in settings.get("secretSources", {}).values() for name in source.get("backends", ())]
    named += [_key(one) for one in others if one["kind"] == "Backend"]
    for one in others:
        refs = [ref for rule in one["spec"].get("rules", ()) for ref in rule.get("backendRefs", ())]
        refs += [ref for ref in one["spec"].get("targetRefs", ()) if ref["kind"] == "Backend"]
        named += [f"{ref.get('namespace', one['metadata']['namespace'])}/{ref['name']}" for ref in refs]
    return list(dict.fromkeys(named)) or ["egress/openai"]


def _named(document: Document) -> Document:
    """With the fields that say what it is, and of a Backend where it leads."""
    kind = document["kind"]
    if kind not in ("Backend", "EgressPolicy", "HTTPRoute"):
        return {"apiVersion": OURS[kind], **document}
    metadata = {"name": "openai", "namespace": "egress", **document.get("metadata", {})}
    spec = dict(document.get("spec", {}))
    if kind == "Backend" and "fqdn" not in spec:
        spec = {"type": "FQDN", "fqdn": {"hostname": f"api.{metadata['name']}.example", "port": 443}, **spec}
    if kind == "EgressPolicy" and "targetRefs" not in spec:
        spec = {"targetRefs": [{"kind": "Gateway", "name": "egress"}], **spec}
    return {"apiVersion": OURS[kind], **document, "metadata": metadata, "spec": spec}


def _route(document: Mapping[str, Any]) -> Document:
    parents = [{"name": "egress", "namespace": "egress"}]
    spec = {"parentRefs": parents, "hostnames": ["api.openai.com"], **document.get("spec", document)}
    return _named({"kind": "HTTPRoute", "spec": spec})


def _key(document: Document) -> str:
    return f"{document['metadata'].get('namespace', 'default')}/{document['metadata']['name']}"


def _metadata(key: str) -> Document:
    namespace, _, name = key.partition("/")
    return {"name": name, "namespace": namespace}
