"""The walk-through: the page is run as it is, and no line of it could say something else without being noticed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from examples.walkthrough.local import differences, names
from examples.walkthrough.local import page as pages
from examples.walkthrough.local.control_plane import assets
from examples.walkthrough.local.network import Network
from examples.walkthrough.local.page import Broken, Excerpt, Step
from examples.walkthrough.local.paper import PaperCluster
from examples.walkthrough.local.pods import needed
from examples.walkthrough.local.processes import Unfit, free_port
from examples.walkthrough.local.shell import shell
from tests.certificates import Authority
from tests.e2e.gateway import AUTHN, INJECT, TOKEN, backend, gateway, policy
from tests.e2e.processes import Process, Stub, short_directory, wait_until
from tests.e2e.test_quickstart import descendants

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "walkthrough.md"
STEPS, EXCERPTS = pages.read(PAGE.read_text())
TOLD = re.compile(r"(?m)^  line (\d+): as written.*\n((?:    .*\n)*)")
SECONDS = 300
"""For a run of it, on a machine that does much else."""


def missing(ask: Callable[..., object], *what: str) -> str:
    """Why it cannot be had; empty if it can."""
    try:
        ask(*what)
    except Unfit as error:
        return str(error)
    return ""


API_SERVER = not missing(assets)
PROGRAMS = [missing(needed, name) for name in ("kubectl", "redis-server", "bao", "openssl", "curl", "bash")]


def run(test: Callable[..., None]) -> Callable[..., None]:
    """Marks for what runs the page."""
    lacking = "; ".join(filter(None, PROGRAMS))
    return pytest.mark.e2e(pytest.mark.timeout(SECONDS + 20)(pytest.mark.skipif(bool(lacking), reason=lacking)(test)))


COMMAND = (sys.executable, "-m", "examples.walkthrough.local", "--show")


def walked(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "TMPDIR": str(directory)}
    return subprocess.run((*COMMAND, *options), cwd=ROOT, env=environ, capture_output=True, text=True, timeout=SECONDS)


@pytest.fixture(scope="module")
def outputs() -> dict[int, str]:
    """What each step printed, by its line, in a run of the page as it is."""
    with short_directory() as directory:
        ran = walked(directory)
        assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr
        assert list(directory.iterdir()) == [], "nothing is left behind"
    assert ("a real API server" if API_SERVER else "NO API server") in ran.stdout
    assert "Traceback" not in ran.stderr
    return {int(line): re.sub(r"(?m)^    ", "", text) for line, text in TOLD.findall(ran.stdout)}


@run
def test_every_command_of_the_page_does_what_it_says(outputs: dict[int, str]) -> None:
    assert outputs.keys() == {step.line for step in STEPS}


@run
def test_a_line_that_is_not_true_is_noticed(outputs: dict[int, str]) -> None:
    said = [step for step in STEPS if step.printed is not None]
    assert len(said) > 15
    for step in said:
        pages.check(step, outputs[step.line])
        for other in others(str(step.printed)):
            with pytest.raises(Broken, match=f"line {step.line}: the page says"):
                pages.check(replace(step, printed=other), outputs[step.line])


def others(text: str) -> Iterator[str]:
    """The same with a line that says something else; or with a line less, where nothing says that there may be more."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if line != "...":
            yield "\n".join([*lines[:at], f"{line[:-1]}~", *lines[at + 1 :]])
            if "..." not in lines:
                yield "\n".join([*lines[:at], *lines[at + 1 :]]) or "more"


@run
def test_a_page_that_says_what_is_not_so_fails_with_the_place(tmp_path: Path) -> None:
    begin, _, _ = PAGE.read_text().partition("## 2. ")
    page = tmp_path / "page.md"
    page.write_text(begin.replace("serviceaccount/batch created", "serviceaccount/batch deleted"))
    with short_directory() as directory:
        ran = walked(directory, "--paper", "--page", str(page))
        assert list(directory.iterdir()) == []
    assert ran.returncode == 1
    assert f"error: {page}: line {STEPS[0].line}: the page says\n" in ran.stderr
    assert "    serviceaccount/batch created\n" in ran.stderr


PODS = """
```sh
kubectl apply -f examples/walkthrough/namespaces.yaml -f deploy/kustomize/base/namespace.yaml
for namespace in egress vault internet ai-workloads other-team; do kubectl create serviceaccount default -n $namespace; done
touch examples/walkthrough/gateway/envoy.yaml
kubectl apply -k examples/walkthrough/gateway
for part in openbao redis internet workloads; do kubectl apply -f examples/walkthrough/$part.yaml; done
kubectl get deployments -A -o json > deployments.json
python -c '
import json
for deployment in json.load(open("deployments.json"))["items"]:
    namespace, pod = deployment["metadata"]["namespace"], deployment["spec"]["template"]
    if namespace != "kube-system":
        pod["metadata"] |= {"name": deployment["metadata"]["name"], "namespace": namespace}
        print(json.dumps({"apiVersion": "v1", "kind": "Pod", **pod}))
' > pods.json
kubectl create --dry-run=server -f pods.json | tee pods.txt
test $(wc -l < pods.txt) = 8
```
"""


@run
@pytest.mark.skipif(not API_SERVER, reason=missing(assets))
def test_each_pod_of_it_is_admitted_where_only_restricted_ones_are(tmp_path: Path) -> None:
    """The commands of the page make Deployments, and no controller makes pods of them here: Pod Security judges those."""
    page = tmp_path / "page.md"
    page.write_text(PODS)
    with short_directory() as directory:
        ran = walked(directory, "--page", str(page))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("created (server dry run)") == 8


@run
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_it_ends_all_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\ntrue\n```\n```sh\nsleep 1000\n```\n")
    with short_directory() as directory:
        environ = {**os.environ, "TMPDIR": str(directory)}
        argv = (*COMMAND, "--paper", "--page", str(page))
        process = Process(argv, tmp_path / "log", environ)
        process.wait_until(lambda: "line 1: as written" in process.output)
        below = descendants(process.popen.pid)
        assert process.stop(number) == 130
        assert below
        wait_until(lambda: not [pid for pid in below if runs_still(pid)])
        assert list(directory.iterdir()) == []


def runs_still(pid: int) -> bool:
    """Ended ones that nobody has asked for yet have no command line any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except FileNotFoundError:
        return False


def test_every_line_of_an_excerpt_is_in_its_file(tmp_path: Path) -> None:
    assert len(EXCERPTS) > 4
    for excerpt in EXCERPTS:
        excerpt.check(ROOT)
        for other in others(excerpt.text):
            if other not in (ROOT / excerpt.path).read_text():
                with pytest.raises(Broken, match=f"line {excerpt.line}: {excerpt.path} has no such lines"):
                    replace(excerpt, text=other).check(ROOT)
    with pytest.raises(Broken, match="has no such lines"):
        EXCERPTS[0].check(tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```console\n$ true\n```", "line 1: a block of kind 'console' here"),
        ("```text\nalone\n```", "line 1: a block of kind 'text' here"),
        ("```sh\ntrue\n```\nand then\n```text\n1\n```", "line 5: a block of kind 'text' here"),
        ("```sh\ntrue\n```\n```text\n1\n```\n```text\n2\n```", "line 7: a block of kind 'text' here"),
        ("- so:\n\n  ```sh\n  true\n  ```", "line 3: a block begins at the left margin"),
        ("# A\n```sh\ntrue", "line 2: this block does not end"),
    ],
)
def test_a_block_that_would_not_be_run_is_an_error(text: str, why: str) -> None:
    with pytest.raises(Broken, match=re.escape(why)):
        pages.read(text)


def test_what_is_read_of_a_page() -> None:
    steps, excerpts = pages.read("# A\n\n## B\n```sh\necho 1\n```\n\n```text\n1\n```\n```yaml\n# f.yaml\na: 1\n```\n")
    assert steps == [Step(4, "B", "echo 1", "1")]
    assert excerpts == [Excerpt(11, "f.yaml", "a: 1")]


@pytest.mark.parametrize(
    ("printed", "output", "same"),
    [
        ("a ... c", "a b c\n", True),
        ("a ... c", "a b\nc\n", False),
        ("...\nc", "a\nb\nc\n", True),
        ("...\nc", "c\n", True),
        ("a", "a  \n\n", True),
        ("a", "b\na\n", False),
        ("a", "a\nb\n", False),
        ("a.c", "abc\n", False),
    ],
)
def test_what_counts_as_the_same(printed: str, output: str, same: bool) -> None:
    step = Step(1, "", "", printed)
    if same:
        pages.check(step, output)
    else:
        with pytest.raises(Broken):
            pages.check(step, output)


async def test_a_shell_keeps_what_a_step_sets_and_ends_at_a_failure(tmp_path: Path) -> None:
    async with shell(tmp_path, tmp_path, {"PATH": "/usr/bin:/bin"}) as place:
        assert (
            await place.run(Step(1, "", "a=1; f() { echo $a; }; read -r x || echo nothing to read"))
            == "nothing to read\n"
        )
        assert await place.run(Step(2, "", "f; f >&2")) == "1\n1\n"
        with pytest.raises(Broken, match=r"line 3: it failed with exit code 7:\nout"):
            await place.run(Step(3, "", "echo out; (exit 7) | cat; echo not reached"))


async def test_a_step_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.walkthrough.local.shell.PATIENCE", 0.05)
    async with shell(tmp_path, tmp_path, {"PATH": "/usr/bin:/bin"}) as place:
        with pytest.raises(Broken, match=r"line 1: not done after 0\.05 seconds"):
            await place.run(Step(1, "", "cat /dev/zero > /dev/null"))


async def test_the_stand_in_for_dns() -> None:
    known = {"api.openai.com": "10.96.0.7"}
    port = free_port()
    async with names.serving(port, known.get):
        assert await names.lookup("API.openai.com", port) == "10.96.0.7"
        assert await names.lookup("api.openai.com.evil.example", port) is None
    assert names.candidates("api.openai.com", "ns")[-1] == "api.openai.com"
    assert names.candidates("redis.egress", "ns")[1] == "redis.egress.svc.cluster.local"
    assert names.candidates("a.b.c.d.e.f", "ns")[0] == "a.b.c.d.e.f"


def test_what_is_rewritten_for_this_machine() -> None:
    mounts, services = {"/tmp": Path("/x/tmp"), "/tmp/a": Path("/y")}, {("redis.egress.svc.cluster.local", 6379): 4}
    said = (
        "/tmp/a/b /tmp/c /tmpfile 0.0.0.0:80 0.0.0.0:8080 redis.egress.svc.cluster.local:6379 x.y.svc.cluster.local:1"
    )
    here = "/y/b /x/tmp/c /tmpfile 127.0.0.1:5 0.0.0.0:8080 127.0.0.1:4 x.y.svc.cluster.local:1"
    assert differences.in_text(said, mounts, {80: 5}, services) == here
    with pytest.raises(Unfit, match="is not there exactly once"):
        differences.static("audiences: [egress]\naudiences: [egress]", Path("/t"))


OBJECTS = """
{apiVersion: v1, kind: Namespace, metadata: {name: ai, labels: {open: "yes"}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: free}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: egress}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway, namespace: egress}
spec: {template: {metadata: {labels: {app: gateway}}, spec: {containers: [{ports: [{name: http, containerPort: 10000}]}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: provider, namespace: internet}
spec: {template: {metadata: {labels: {app: provider}}, spec: {containers: [{ports: [{containerPort: 8443}]}]}}}
---
{apiVersion: v1, kind: Service, metadata: {name: gateway, namespace: egress},
 spec: {selector: {app: gateway}, ports: [{port: 443, targetPort: http}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: provider, namespace: internet},
 spec: {selector: {app: provider}, ports: [{port: 443, targetPort: 8443}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: ai}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: egress}}, podSelector: {matchLabels: {app: gateway}}}]
    ports: [{port: 10000}]
  - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]
    ports: [{port: 443}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: into, namespace: egress}
spec:
  podSelector: {matchLabels: {app: gateway}}
  policyTypes: [Ingress]
  ingress: [{from: [{namespaceSelector: {matchLabels: {open: "yes"}}}]}]
"""


@pytest.mark.parametrize(
    ("namespace", "address", "port", "reached"),
    [
        ("ai", "10.96.0.1", 443, True),  # the gateway, by its Service
        ("ai", "10.96.0.2", 443, False),  # the provider, past it
        ("ai", "203.0.113.9", 443, False),  # nobody
        ("free", "10.96.0.2", 443, True),  # no policy of this namespace closes anything
        ("free", "10.96.0.1", 443, False),  # the gateway lets in whom its label names
        ("ai", "10.96.0.1", 80, False),  # no port of that Service
    ],
)
async def test_network_policies(namespace: str, address: str, port: int, reached: bool, tmp_path: Path) -> None:
    cluster = PaperCluster(tmp_path)
    await cluster.kubectl(("apply", "-f", "-"), tmp_path, OBJECTS.encode())
    addresses = {one["metadata"]["name"]: one["spec"]["clusterIP"] for one in await cluster.find("services")}
    asked = {"10.96.0.1": addresses["gateway"], "10.96.0.2": addresses["provider"]}.get(address, address)
    found = await Network(cluster).reached(namespace, {"app": "any"}, asked, port)
    assert (found is not None) is reached


async def test_a_selector_that_is_not_understood_closes_nothing_in_silence(tmp_path: Path) -> None:
    cluster = PaperCluster(tmp_path)
    objects = OBJECTS.replace('matchLabels: {open: "yes"}', "matchExpressions: []")
    await cluster.kubectl(("apply", "-f", "-"), tmp_path, objects.encode())
    [gateway] = await cluster.find("services", "egress", "gateway")
    with pytest.raises(NotImplementedError):
        await Network(cluster).reached("ai", {}, gateway["spec"]["clusterIP"], 443)


@pytest.mark.e2e
def test_clients_trust_the_gateway_by_a_variable_of_the_environment(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("localhost")
    port, asked = free_port(), [{"role": "user", "content": "hi"}]
    with short_directory() as directory:
        envoy = {
            "listen": f"127.0.0.1:{port}",
            "admin": f"unix://{directory}/admin.sock",
            "tls": {"cert": str(issued.cert), "key": str(issued.key)},
        }
        with gateway(policy(AUTHN), backend(stub.port, INJECT), envoy=envoy):
            with clients(port) as (strange, _), pytest.raises(openai.APIConnectionError):
                strange.chat.completions.create(model="echo", messages=asked)
            monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
            with clients(port) as (one, other):
                assert one.chat.completions.create(model="echo", messages=asked).choices[0].message.content == "hi"
                assert other.messages.create(model="echo", max_tokens=9, messages=asked).content[0].text == "hi"


@contextmanager
def clients(port: int) -> Iterator[tuple[Any, Any]]:
    """OpenAI's and Anthropic's, as an environment makes them."""
    url = f"https://localhost:{port}"
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN, max_retries=0) as one,
        anthropic.Anthropic(base_url=url, auth_token=TOKEN, max_retries=0) as other,
    ):
        yield one, other
