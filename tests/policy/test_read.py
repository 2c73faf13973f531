"""Reading documents: what is refused, where, and with which sentence."""

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from extproc.errors import ConfigError, Refused
from extproc.policy.places import Steps, dotted
from extproc.policy.read import load
from tests.policy.samples import AUTHN, BACKEND, SETTINGS, marked_line, route, write

DOCUMENTS = (SETTINGS, AUTHN, BACKEND)


def errors_of(path: Path) -> tuple[ConfigError, ...]:
    with pytest.raises(Refused) as caught:
        load(path)
    return caught.value.errors


def the_error(path: Path) -> ConfigError:
    (error,) = errors_of(path)
    return error


def listen(text: str) -> str:
    return f"{SETTINGS}listen:\n- {text} #!\n"


def extension(text: str) -> str:
    return AUTHN + f'  - {{name: x, type: "Limit:v1", phase: request-headers, {text}}} #!\n'


def spec(text: str) -> str:
    return BACKEND + f"  {text} #!\n"


# what is wrong: the documents, the number of the wrong one, its field, the sentence
REFUSALS = {
    "unknown field": ((f"{SETTINGS}adress: x #!\n",), 1, "adress", "there is no field 'adress': the fields here are"),
    "misspelt field": (
        (f"{SETTINGS}worker: 2 #!\n",),
        1,
        "worker",
        "there is no field 'worker': did you mean 'workers'?",
    ),
    "snake case": ((f"{SETTINGS}drain_seconds: 2 #!\n",), 1, "drain_seconds", "did you mean 'drainSeconds'?"),
    "unknown field of a list's item": (
        (SETTINGS, extension("prio: 1")),
        2,
        "spec.extensions[1].prio",
        "there is no field 'prio': did you mean 'priority'?",
    ),
    "unknown field in metadata": (
        (SETTINGS, AUTHN.replace("namespace: egress}", "namespace: egress, nmae: x} #!")),
        2,
        "metadata.nmae",
        "did you mean 'name'?",
    ),
    "missing field": (
        (SETTINGS, BACKEND.replace("{hostname: api.openai.com, port: 443}", "{hostname: api.openai.com} #!")),
        2,
        "spec.fqdn.port",
        "this field is required",
    ),
    "text for a number": (
        (f'{SETTINGS}workers: "2" #!\n',),
        1,
        "workers",
        "this must be a whole number, without quotes",
    ),
    "number for text": ((SETTINGS, spec("clusters: [1]")), 2, "spec.clusters[0]", "this must be text"),
    "a cluster that no terminal shows": ((SETTINGS, spec(r'clusters: ["\e[2J"]')), 2, "spec.clusters[0]", "must match"),
    "text for a list": ((SETTINGS, spec("clusters: a/b")), 2, "spec.clusters", "this must be a list"),
    "no worker": ((f"{SETTINGS}workers: 0 #!\n",), 1, "workers", "this must be at least 1"),
    "many workers": ((f"{SETTINGS}workers: 257 #!\n",), 1, "workers", "this must be at most 256"),
    "no budget": ((f"{SETTINGS}budget: 0s #!\n",), 1, "budget", "is no duration"),
    "budget without unit": ((f"{SETTINGS}budget: 800 #!\n",), 1, "budget", "is no duration"),
    "budget of an hour": ((f"{SETTINGS}budget: 1h #!\n",), 1, "budget", "this must be at most 60"),
    "negative drain": ((f"{SETTINGS}drainSeconds: -1 #!\n",), 1, "drainSeconds", "this must be at least 0"),
    "traffic policy": ((f"{SETTINGS}trafficPolicy: deny #!\n",), 1, "trafficPolicy", "this must be 'Deny' or 'Allow'"),
    "authentication": (
        (f"{SETTINGS}authentication: off #!\n",),
        1,
        "authentication",
        "versions differ on what 'off' is: write true or false, or put it in quotes if it is text",
    ),
    "framing as identity": (
        (f"{SETTINGS}identityHeaders: [x-user, Transfer-Encoding] #!\n",),
        1,
        "identityHeaders[1]",
        "'Transfer-Encoding' belongs to the connection or to Envoy",
    ),
    "envoy's header as identity": (
        (f"{SETTINGS}identityHeaders: [x-envoy-peer] #!\n",),
        1,
        "identityHeaders[0]",
        "to Envoy",
    ),
    "no header name": ((f'{SETTINGS}identityHeaders: ["a b"] #!\n',), 1, "identityHeaders[0]", "is not a header name"),
    "pseudo header": ((f'{SETTINGS}requestTrailers: [":path"] #!\n',), 1, "requestTrailers[0]", "is not a header name"),
    "gateway without namespace": (
        (f"{SETTINGS.replace('gateway: egress/egress', 'gateway: egress #!')}",),
        1,
        "gateway",
        "'egress' is not of the form namespace/name",
    ),
    "abstract socket": ((listen('{address: "unix:@x"}'),), 1, "listen[0].address", "is an abstract socket"),
    "relative socket": ((listen('{address: "unix:run/x"}'),), 1, "listen[0].address", "write unix:///absolute/path"),
    "socket with insecure": (
        (listen('{address: "unix:///x", insecure: true}'),),
        1,
        "listen[0]",
        "guarded by its directory",
    ),
    "open TCP": (
        (listen('{address: "0.0.0.0:9002"}'),),
        1,
        "listen[0]",
        "needs `tls` with cert, key, clientCA, allowedClients",
    ),
    "insecure TCP": (
        (listen('{address: "0.0.0.0:9002", insecure: true}'),),
        1,
        "listen[0]",
        "for a loopback address only",
    ),
    "insecure and TLS": (
        (listen('{address: "127.0.0.1:9", insecure: true, tls: {cert: c, key: k, clientCA: a, allowedClients: [x]}}'),),
        1,
        "listen[0]",
        "contradict each other",
    ),
    "TLS for anybody": (
        (listen('{address: "1.2.3.4:9", tls: {cert: c, key: k, clientCA: a, allowedClients: []}}'),),
        1,
        "listen[0].tls.allowedClients",
        "needs at least 1",
    ),
    "port out of range": (
        (listen('{address: "127.0.0.1:70000", insecure: true}'),),
        1,
        "listen[0].address",
        "is no address",
    ),
    "no port": ((listen('{address: "127.0.0.1:0", insecure: true}'),), 1, "listen[0]", "port 0"),
    "two sources in one": (
        (
            f"{SETTINGS}secretSources:\n  keys: {{file: {{root: x}}, env: {{names: [A]}}, backends: [egress/openai]}} #!\n",
        ),
        1,
        "secretSources.keys",
        "exactly one of `vault`, `file` and `env`",
    ),
    "source for nobody": (
        (f"{SETTINGS}secretSources:\n  keys: {{file: {{root: x}}, backends: []}} #!\n",),
        1,
        "secretSources.keys.backends",
        "needs at least 1",
    ),
    "filter reference": (
        (f'{SETTINGS}filters:\n  "a.b/C:v1": "os.system" #!\n',),
        1,
        'filters["a.b/C:v1"]',
        "this text must match",
    ),
    "extension name": (
        (SETTINGS, extension("").replace("name: x", "name: X_1")),
        2,
        "spec.extensions[1].name",
        "'X_1' is not a name",
    ),
    "type without version": (
        (SETTINGS, extension("").replace("Limit:v1", "Limit")),
        2,
        "spec.extensions[1].type",
        "write Kind:version",
    ),
    "phase": (
        (SETTINGS, extension("").replace("phase: request-headers, }", "phase: request}")),
        2,
        "spec.extensions[1].phase",
        "this must be 'request-headers', 'request-body'",
    ),
    "priority": ((SETTINGS, extension("priority: 2147483648")), 2, "spec.extensions[1].priority", "at most 2147483647"),
    "fractional priority": ((SETTINGS, extension("priority: 1.5")), 2, "spec.extensions[1].priority", "a whole number"),
    "failOpenOn": (
        (SETTINGS, extension("failOpenOn: [always]")),
        2,
        "spec.extensions[1].failOpenOn[0]",
        "'unavailable'",
    ),
    "failOpenOn nothing": ((SETTINGS, extension("failOpenOn: []")), 2, "spec.extensions[1].failOpenOn", "at least 1"),
    "failOpenOn interrupted": (
        (SETTINGS, extension("failOpenOn: [interrupted]")),
        2,
        "spec.extensions[1].failOpenOn",
        "'interrupted' cannot be covered",
    ),
    "timeout": ((SETTINGS, extension("timeout: 61s")), 2, "spec.extensions[1].timeout", "this must be at most 60"),
    "quoted truth": ((SETTINGS, extension('preAuth: "true"')), 2, "spec.extensions[1].preAuth", "true or false"),
    "config is text": ((SETTINGS, extension("config: x")), 2, "spec.extensions[1].config", "a mapping of names"),
    "target kind": (
        (SETTINGS, AUTHN.replace("kind: Gateway, name: egress}]", "kind: Service, name: egress}] #!")),
        2,
        "spec.targetRefs[0].kind",
        "this must be 'Gateway', 'Backend' or 'HTTPRoute'",
    ),
    "target in another namespace": (
        (SETTINGS, AUTHN.replace("kind: Gateway, name: egress}]", "kind: Gateway, name: egress, namespace: a}] #!")),
        2,
        "spec.targetRefs[0].namespace",
        "there is no field 'namespace'",
    ),
    "backend type": (
        (SETTINGS, BACKEND.replace("type: FQDN", "type: Service #!")),
        2,
        "spec.type",
        "this must be 'FQDN'",
    ),
    "certificate without MUTUAL": (
        (SETTINGS, BACKEND.replace("port: 443}", "port: 443, tls: {cert: a, key: b}} #!")),
        2,
        "spec.fqdn.tls",
        "`cert` and `key` go together, with `mode: MUTUAL`",
    ),
    "kind": (
        (SETTINGS, BACKEND.replace("kind: Backend", "kind: Backends #!")),
        2,
        "kind",
        "the kind 'Backends' is not known",
    ),
    "apiVersion": (
        (SETTINGS, BACKEND.replace("v1alpha1", "v1 #!")),
        2,
        "apiVersion",
        "the kind Backend is read in egress.extproc.dev/v1alpha1",
    ),
    "no kind": ((SETTINGS, "apiVersion: v1 #!\n"), 2, "kind", "this field is required"),
    "a list": ((SETTINGS, "- a #!\n"), 2, "", "a document is a mapping"),
    "no document": ((SETTINGS, "tokens: [] #!\n"), 2, "", "this is no document of a configuration"),
    "the same key twice": ((f"{SETTINGS}workers: 1\nworkers: 2 #!\n",), 1, "workers", "'workers' is written twice"),
    "a number as key": ((f"{SETTINGS}1: 2 #!\n",), 1, "", "the key '1' is not text"),
    "merge key": ((f"{SETTINGS}<<: {{workers: 2}} #!\n",), 1, "", "the merge key `<<` is not read"),
    "octal": ((f"{SETTINGS}workers: 010 #!\n",), 1, "workers", "YAML's versions differ on what '010' is"),
    "a tag": ((f"{SETTINGS}workers: !!python/object/apply:os.getpid [] #!\n",), 1, "workers", "is not read here"),
    "a field of another kind": ((SETTINGS, spec("port: 443")), 2, "spec.port", "there is no field 'port'"),
    "route timeouts": (
        (
            SETTINGS,
            (
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec:\n"
                "  parentRefs: [{name: egress}]\n  rules:\n  - timeouts: {request: 1s} #!\n"
            ),
        ),
        2,
        "spec.rules[0].timeouts",
        "the field 'timeouts' is not implemented: remove it",
    ),
    "route section": (
        (
            SETTINGS,
            (
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec:\n"
                "  parentRefs: [{name: egress, sectionName: http}] #!\n"
            ),
        ),
        2,
        "spec.parentRefs[0].sectionName",
        "the field 'sectionName' is not implemented: remove it",
    ),
}


@pytest.mark.parametrize(("documents", "number", "field", "sentence"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_names_file_line_document_and_field(
    tmp_path: Path, documents: tuple[str, ...], number: int, field: str, sentence: str
) -> None:
    path = write(tmp_path, *documents)
    error = errors_of(path)[0]
    assert sentence in error.message
    assert (error.place.file, error.place.line) == (str(path), marked_line(*documents))
    assert (error.place.document, error.place.field) == (number, field)
    assert str(error).startswith(f"{path}:{error.place.line}: document {number}: ")


def test_what_is_read(tmp_path: Path) -> None:
    documents = load(write(tmp_path, *DOCUMENTS))
    assert documents.configuration.model.gateway == "egress/egress"
    assert [str(backend.model.metadata) for backend in documents.backends] == ["egress/openai"]
    assert documents.policies[0].model.spec.extensions[0].timeout == 0.25
    place = documents.policies[0].origin.place("spec", "extensions", 0, "priority")
    assert (place.line, place.document) == (11, 2)


def test_every_default_is_the_contracts(tmp_path: Path) -> None:
    settings = load(write(tmp_path, SETTINGS)).configuration.model
    assert [listen.address for listen in settings.listen] == ["unix:///run/extproc/extproc.sock"]
    assert (settings.admin, settings.workers, settings.envoy.listen) == ("127.0.0.1:9090", 1, "127.0.0.1:10000")
    assert settings.envoy.admin == "unix:///run/extproc/envoy-admin.sock"
    assert (settings.traffic_policy, settings.authentication) == ("Deny", "required")
    assert (settings.budget, settings.drain_seconds, settings.upstream_pass) == (0.8, 5, False)
    assert (settings.identity_headers, settings.request_trailers) == ((), ())


def test_all_errors_are_told_at_once_and_in_order(tmp_path: Path) -> None:
    path = write(tmp_path, f"{SETTINGS}worker: 1\n", BACKEND.replace("443", "0"), "kind: x\n", AUTHN + "\tx\n")
    errors = errors_of(path)
    assert [error.place.document for error in errors] == [1, 2, 3, 4]
    assert [error.place.line for error in errors] == sorted(error.place.line for error in errors)


def test_yaml_that_is_none(tmp_path: Path) -> None:
    assert "a tab cannot indent YAML" in the_error(write(tmp_path, f"{SETTINGS}x:\n\ty: 1\n")).message
    error = the_error(write(tmp_path, f"{SETTINGS}x: [1\n"))
    assert "this is not YAML" in error.message
    assert error.place.line >= 4
    assert "control character" in the_error(write(tmp_path, f"{SETTINGS}x: \x00\n")).message


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(SETTINGS.encode() + b"x: \xff\n")
    error = the_error(path)
    assert (error.message, error.place.line) == ("the file is not UTF-8 text", 4)
    path.write_bytes(SETTINGS.encode("utf-16"))
    assert the_error(path).message == "the file is not UTF-8 text"
    path.write_bytes(b"\xef\xbb\xbf" + SETTINGS.encode())
    assert load(path).configuration.model.workers == 1


BOMBS = {
    "aliases": "a: &a [1, 1, 1]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi")),
    "recursive": "a: &a [*a]\n",
    "deep flow": "a: " + "[" * 100_000,
    "deep block": "\n".join(" " * depth + "a:" for depth in range(1000)),
    "deep dashes": "- " * 100_000,
    "wide": "a: [" + "1," * 120_000 + "]",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_yaml_that_explodes(tmp_path: Path, text: str) -> None:
    message = the_error(write(tmp_path, text)).message
    assert re.search("nested deeper than 64|more than 50000 values|more than 100000 keys and values", message)


def test_a_few_anchors_are_fine(tmp_path: Path) -> None:
    text = f"{SETTINGS}identityHeaders: &names [x-user]\nrequestTrailers: *names\n"
    assert load(write(tmp_path, text)).configuration.model.request_trailers == ("x-user",)


def test_documents_that_are_empty_or_missing(tmp_path: Path) -> None:
    assert "the document is empty" in the_error(write(tmp_path, SETTINGS, "# nothing\n")).message
    assert "the file holds no document" in the_error(write(tmp_path, "# nothing\n")).message
    assert "there is no ExtProcConfiguration" in the_error(write(tmp_path, BACKEND)).message
    second = the_error(write(tmp_path, SETTINGS, SETTINGS))
    assert "a second ExtProcConfiguration" in second.message
    assert second.place.document == 2
    twin = the_error(write(tmp_path, SETTINGS, BACKEND, BACKEND))
    assert "Backend egress/openai is defined twice" in twin.message
    assert (twin.place.document, twin.place.field) == (3, "metadata.name")


def test_a_directory_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(BACKEND)
    (tmp_path / "a.yml").write_text(SETTINGS)
    (tmp_path / ".hidden.yaml").write_text("not: read")
    (tmp_path / "notes.txt").write_text("not read")
    (tmp_path / "again.yaml").symlink_to("b.yaml")
    documents = load(tmp_path)
    assert documents.configuration.origin.file == str(tmp_path / "a.yml")
    assert [backend.origin.file for backend in documents.backends] == [str(tmp_path / "again.yaml")]


def test_a_mounted_config_map_is_read_once_and_in_one_version(tmp_path: Path) -> None:
    version = tmp_path / "..2026_01_01"
    version.mkdir()
    (version / "config.yaml").write_text(SETTINGS)
    (version / "backend.yaml").write_text(BACKEND)
    (tmp_path / "..data").symlink_to(version.name)
    for name in ("config.yaml", "backend.yaml"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    documents = load(tmp_path)
    assert len(documents.backends) == 1
    assert documents.configuration.origin.file == str(tmp_path / "config.yaml")
    assert documents.configuration.origin.directory == tmp_path


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert the_error(tmp_path / "none.yaml").message == "there is no such file"
    assert "no file *.yaml" in the_error(tmp_path).message
    os.mkfifo(tmp_path / "pipe.yaml")
    assert the_error(tmp_path).message == "this is not a regular file"
    (tmp_path / "pipe.yaml").unlink()
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    assert the_error(tmp_path).message == "there is no such file"


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with path.open("wb") as file:
        file.truncate(8 * 1024 * 1024 + 1)
    assert "larger than" in the_error(path).message


def test_a_secret_in_a_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    text = f"{SETTINGS}connections: {{redis: hunter2}}\nsecretSources: hunter2\nbudget: 5\nworkers: hunter2\n"
    assert "hunter2" not in str(Refused(list(errors_of(write(tmp_path, text)))))


WHOLE = """\
apiVersion: egress.extproc.dev/v1alpha1
kind: ExtProcConfiguration
gateway: egress/egress
listen: [{address: "10.0.0.1:9", tls: {cert: c, key: k, clientCA: a, allowedClients: [x]}}]
envoy: {listen: "127.0.0.1:10000"}
connections: {}
secretSources: {keys: {file: {root: x}, backends: [a/b]}, more: {env: {names: [A]}, backends: [a/b]}}
---
apiVersion: egress.extproc.dev/v1alpha1
kind: Backend
metadata: {name: openai}
spec:
  type: FQDN
  fqdn: {hostname: api.openai.com, port: 443, tls: {mode: SIMPLE}}
  extensions: [{name: a, type: "A:v1", phase: connect}]
---
apiVersion: egress.extproc.dev/v1alpha1
kind: EgressPolicy
metadata: {name: baseline}
spec: {targetRefs: [{kind: Gateway, name: egress}], extensions: []}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: egress}]
  rules:
  - matches: [{path: {value: /}, headers: [{name: a, value: b}], queryParams: [{name: a, value: b}]}]
    filters: [{type: CORS}]
    backendRefs: [{name: a}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g}
spec: {from: [{group: a, kind: B, namespace: c}], to: [{group: a, kind: B}]}
"""


def mappings(value: object, steps: Steps = ()) -> Iterator[Steps]:
    """The way to every mapping whose fields are fixed."""
    if isinstance(value, dict):
        if steps[-1:] != ("secretSources",):
            yield steps
        for name, inner in value.items():
            yield from mappings(inner, (*steps, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from mappings(inner, (*steps, index))


PLACES = [(number, steps) for number, one in enumerate(yaml.safe_load_all(WHOLE), 1) for steps in mappings(one)]


def test_the_whole_of_it_is_read(tmp_path: Path) -> None:
    assert len(load(write(tmp_path, WHOLE)).grants) == 1
    assert len(PLACES) > 30


@pytest.mark.parametrize(("number", "steps"), PLACES, ids=[f"{number}-{dotted(steps)}" for number, steps in PLACES])
def test_an_unknown_field_is_refused_wherever_it_is(tmp_path: Path, number: int, steps: Steps) -> None:
    documents = list(yaml.safe_load_all(WHOLE))
    found = documents[number - 1]
    for step in steps:
        found = found[step]
    found["surprise"] = 1
    error = the_error(write(tmp_path, *(yaml.safe_dump(one) for one in documents)))
    assert error.message.startswith("there is no field 'surprise'")
    assert (error.place.document, error.place.field) == (number, dotted((*steps, "surprise")))


def test_many_errors_are_told_in_time(tmp_path: Path) -> None:
    text = f"{SETTINGS}identityHeaders: [{', '.join(['te'] * 20_000)}]\n"
    assert len(errors_of(write(tmp_path, text))) == 20_000
    rules = route("r", "[a.example]", "  - {matches: []}\n" * 10_000)
    assert len(errors_of(write(tmp_path, SETTINGS, rules))) == 10_000


def test_what_a_document_calls_its_fields_is_shown_as_it_is(tmp_path: Path) -> None:
    """Else it could write lines of its own into a terminal, or wipe ours away."""
    error = the_error(write(tmp_path, SETTINGS + r'"x\e[2J\nerror: forged\u202e": 1' + "\n"))
    assert error.place.field == r'["x\u001b[2J\nerror: forged\u202e"]'
    assert str(error).isprintable()
