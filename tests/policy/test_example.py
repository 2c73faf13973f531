"""The example of the contract, word for word: it loads, and its chain is the documented one."""

from pathlib import Path

import pytest

from extproc.core.engine import Selection
from extproc.core.phase import Phase
from extproc.core.verdict import Respond
from extproc.errors import Refused
from extproc.outside import Connected
from extproc.policy.read import load
from extproc.policy.resolve import resolve
from extproc_filters import FILTERS
from tests.policy.samples import request

CONFIG = """\
apiVersion: egress.extproc.dev/v1alpha1
kind: ExtProcConfiguration
gateway: egress/egress
listen: [{address: "unix:///run/extproc/extproc.sock"}]
secretSources:
  provider-keys: {file: {root: secrets}, backends: [egress/openai]}
---
apiVersion: egress.extproc.dev/v1alpha1
kind: EgressPolicy
metadata: {name: baseline, namespace: egress}
spec:
  targetRefs: [{kind: Gateway, name: egress}]
  extensions:
  - name: authn
    type: TokenReview:v1
    phase: request-headers
    priority: 0
    config:
      reviewer: {static: {path: tokens.yaml}}       # default: {kubernetes: {}}; static is refused inside a cluster
      audiences: [egress]
      allow: {namespaces: [ai-workloads]}
  - name: quota
    type: QoSController:v1
    phase: request-headers
    priority: 10
    config:
      store: memory                                 # or redis; default: redis where a connection is configured, else memory
      limits: [{name: per-workload, requests: 5, window: 1m, algorithm: sliding-window}]
---
apiVersion: egress.extproc.dev/v1alpha1
kind: Backend
metadata: {name: openai, namespace: egress}
spec:
  type: FQDN
  fqdn: {hostname: api.openai.com, port: 443, tls: {mode: SIMPLE, serverName: api.openai.com}}
  extensions:
  - name: inject-credentials
    type: CredentialInjector:v1
    phase: request-headers
    priority: 30
    config:
      source: provider-keys
      path: "{peer.namespace}/{peer.serviceAccount}"
      field: api_key    # file: <root>/<path>/<field>; Vault: <mount>/<prefix>/<path>, field; env: path is the name
      header: authorization
      template: "Bearer {value}"
  - name: pii
    type: PIIDetector:v1
    phase: request-body
    priority: 20
    config: {redactionStyle: mask, maxBodyBytes: 1048576}
"""

TOKENS = """\
tokens:
- token: demo-token
  username: system:serviceaccount:ai-workloads:default
  uid: 11111111-1111-1111-1111-111111111111
  groups: [system:serviceaccounts, "system:serviceaccounts:ai-workloads"]
  audiences: [egress]
"""


def test_the_example_of_the_contract(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "tokens.yaml").write_text(TOKENS)
    (tmp_path / "secrets").mkdir()
    found = resolve(load(tmp_path / "config.yaml"), FILTERS, Connected)
    selection = found.select(request("api.openai.com", "/v1/chat/completions", "POST"), "egress/openai")
    assert isinstance(selection, Selection)
    names = {phase: [link.name for link in selection.chain.at(phase)] for phase in Phase}
    assert names[Phase.REQUEST_HEADERS] == ["authn", "quota", "inject-credentials"]
    assert names[Phase.REQUEST_BODY] == ["pii"]
    assert isinstance(found.select(request("example.com"), "egress/openai"), Respond)
    assert (found.findings, found.needs.max_body_bytes) == ((), 1048576)


def test_what_lies_beside_it_is_told_from_a_document(tmp_path: Path) -> None:
    """`tokens.yaml` in the directory that is read: a sentence, not a riddle."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "tokens.yaml").write_text(TOKENS)
    with pytest.raises(Refused, match="document 1: this is no document of a configuration"):
        load(tmp_path)
