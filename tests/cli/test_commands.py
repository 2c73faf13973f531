"""check, explain, envoy, catalog and scan: what they print, and with what they end."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from extproc_filters import FILTERS
from tests.cli.conftest import QUICKSTART, Ran, edited

Run = Callable[..., Ran]
CONFIG = QUICKSTART / "extproc.yaml"
URL = "http://localhost:10000/v1/chat/completions"


def test_help_names_every_command(extproc: Run) -> None:
    out = extproc("--help").out
    assert all(name in out for name in ("serve", "check", "explain", "envoy", "run", "catalog", "scan", "new-filter"))


@pytest.mark.parametrize("command", ["serve", "check", "explain", "envoy", "run", "catalog", "scan", "new-filter"])
def test_each_command_has_help(extproc: Run, command: str) -> None:
    ran = extproc(command, "--help")
    assert (ran.code, "Usage" in ran.out) == (0, True)
    assert ran.out.isascii(), "no boxes, which a log or a plain terminal cannot show"


def test_help_tells_of_every_command_in_a_whole_sentence(extproc: Run) -> None:
    told = " ".join(extproc("--help").out.partition("Commands:")[2].split())
    assert "..." not in told
    assert "Print the Envoy bootstrap that fits this configuration, as YAML." in told


# check


def test_check_shows_the_chain_in_its_order(extproc: Run) -> None:
    ran = extproc("check", "--config", CONFIG)
    assert ran.code == 0
    names = [line.split()[2] for line in ran.out.splitlines() if line.startswith("  ")]
    assert names == ["authn", "quota", "inject-credentials", "pii", "pii"]


def test_check_tells_programs_the_same(extproc: Run) -> None:
    found = json.loads(extproc("check", "--config", CONFIG, "--json").out)
    assert [each["name"] for each in found["chains"][0]["extensions"]] == [
        "authn",
        "quota",
        "inject-credentials",
        "pii",
        "pii",
    ]
    assert found["findings"] == []


def test_a_refused_configuration_is_told_with_its_place(extproc: Run, quickstart: Path) -> None:
    file = edited(quickstart, "redactionStyle: placeholder", "redactionStil: placeholder")
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "redactionStil" in text)
    for command in ("check", "serve", "envoy", "run"):
        ran = extproc(command, "--config", file)
        assert ran.code == 2
        assert f"error: {file}:{line}: document 3: spec.extensions[0].config.redactionStil" in ran.err
        assert "redactionStyle" in ran.err


def test_what_is_wrong_writes_nothing_else_into_a_terminal(extproc: Run, tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J\nerror: forged.yaml").write_text("kind: x")
    ran = extproc("check", "--config", tmp_path)
    assert ran.code == 2
    assert (
        ran.err
        == f"error: {tmp_path}/a?[2J?error: forged.yaml:1: document 1: apiVersion: this field is required, and is text\n"
    )


def test_check_ends_with_1_if_something_is_degraded(extproc: Run, quickstart: Path) -> None:
    file = edited(quickstart, "type: PIIDetector:v1", "type: acme.example.com/PIIDetector:v1")
    ran = extproc("check", "--config", file)
    assert ran.code == 1
    assert "UnsupportedExtensionType" in ran.out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("raise SystemExit(0)", "cannot be imported: SystemExit"),
        ("1 +", "cannot be imported: SyntaxError"),
        ("", "cannot be imported: AttributeError"),
        ("class X:\n    pass", "is no filter: a filter is a class with `async def decide"),
    ],
)
def test_a_filter_that_is_badly_written_gets_a_sentence(
    extproc: Run, quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    module = f"acme_bad_{len(text)}"
    (tmp_path / f"{module}.py").write_text(f"{text}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = edited(quickstart, "\nsecretSources", f'\nfilters: {{"acme.example.com/X:v1": "{module}:X"}}\nsecretSources')
    ran = extproc("check", "--config", file)
    assert (ran.code, sentence in ran.err, 'filters["acme.example.com/X:v1"]' in ran.err) == (2, True, True), ran


def test_check_shows_what_came_of_other_shapes(extproc: Run, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "interop.md").read_text()
    blocks = [part.partition("```")[0] for part in page.split("```yaml\n")[1:]]
    drafts = [block for block in blocks if "kind: XBackendDestination" in block or "kind: PayloadProcessor" in block]
    version = "apiVersion: egress.extproc.dev/v1alpha1"
    settings = f"{version}\nkind: ExtProcConfiguration\ngateway: egress/egress\nauthentication: none\n"
    file = tmp_path / "config.yaml"
    file.write_text("---\n".join([settings, *drafts]))
    ran = extproc("check", "--config", file)
    assert ran.code == 0, ran.err
    rows = [line.split() for line in ran.out.splitlines()[1:]]
    assert [(row[0], row[2], row[3], " ".join(row[5:])) for row in rows] == [
        ("request-body", "models-extract-model", "PayloadHeaders:v1", "PayloadProcessor egress/models"),
        ("request-body", "pii", "PIIDetector:v1", "XBackendDestination egress/openai"),
    ]


def test_a_path_that_is_not_there(extproc: Run, tmp_path: Path) -> None:
    path = tmp_path / "/".join(["a-folder-with-a-long-name"] * 4) / "nothing.yaml"
    ran = extproc("check", "--config", path)
    assert (ran.code, f"'{path}' does not exist" in ran.err) == (2, True), "in one piece, to be copied"


def test_a_token_file_that_is_not_there_is_told_where_it_is_named(extproc: Run, quickstart: Path) -> None:
    file = edited(quickstart, "path: tokens.yaml", "path: tokns.yaml")
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "tokns" in text)
    place = f"{file}:{line}: document 2: spec.extensions[0].config.reviewer.static.path"
    ran = extproc("check", "--config", file)
    assert (ran.code, ran.err) == (
        2,
        f"error: {place}: the token file {quickstart / 'tokns.yaml'} cannot be read: No such file or directory\n",
    )


# explain


def test_explain_shows_what_each_decides_and_what_leaves(extproc: Run) -> None:
    ran = extproc(
        "explain", "--config", CONFIG, "-H", "authorization: Bearer demo-token", "-H", "content-type: application/json",
        "-d", '{"messages": [{"role": "user", "content": "jane@example.com"}]}', URL + "?key=mine",
    )  # fmt: skip
    assert ran.code == 0
    assert "caller   ai-workloads/default" in ran.out
    assert "authorization: ***" in ran.out
    assert "[EMAIL_ADDRESS_1]" in ran.out
    assert not any(text in ran.out for text in ("demo-token", "jane@example.com", "sk-quickstart", "mine"))


def test_explain_as_somebody(extproc: Run) -> None:
    found = json.loads(extproc("explain", "--config", CONFIG, "--as", "ai-workloads/default", "--json", URL).out)
    assert found["peer"] == {"namespace": "ai-workloads", "serviceAccount": "default"}
    assert ["authorization", "***"] in found["leaves"]["headers"]
    nobody = json.loads(extproc("explain", "--config", CONFIG, "--as", "ai-workloads/new", "--json", URL).out)
    assert nobody["answer"]["code"] == "no_credential"


def test_explain_as_somebody_who_may_not_call(extproc: Run) -> None:
    found = json.loads(extproc("explain", "--config", CONFIG, "--as", "other-team/default", "--json", URL).out)
    assert (found["answer"]["code"], found["extension"]) == ("forbidden", "authn")
    assert {link["decision"] for link in found["chain"][1:]} == {"not run"}


def test_explain_tells_what_is_found_where_nothing_is_changed(extproc: Run, quickstart: Path) -> None:
    file = edited(quickstart, "redactionStyle: placeholder, restore: true", "mode: detect")
    asked = ("-H", "content-type: text/plain", "-d", "jane@example.com, 4111 1111 1111 1111", URL)
    ran = extproc("explain", "--config", file, "--as", "ai-workloads/default", *asked)
    assert "CREDIT_CARD 1, EMAIL_ADDRESS 1" in ran.out.partition("reports\n")[2].partition("leaves\n")[0]
    assert ran.out.endswith("jane@example.com, 4111 1111 1111 1111\n")
    found = json.loads(extproc("explain", "--config", file, "--as", "ai-workloads/default", "--json", *asked).out)
    assert found["reports"] == {"pii": {"CREDIT_CARD": 1, "EMAIL_ADDRESS": 1}}


def test_explain_a_denial(extproc: Run) -> None:
    ran = extproc("explain", "--config", CONFIG, URL)
    assert "answer   401 unauthenticated" in ran.out
    assert "not run" in ran.out
    assert "403 no_backend" in extproc("explain", "--config", CONFIG, "http://other.example.com/").out


def test_explain_reads_a_body_from_a_file(extproc: Run, tmp_path: Path) -> None:
    body = tmp_path / "body.txt"
    body.write_text("4111 1111 1111 1111")
    arguments = ("--as", "ai-workloads/default", "-H", "content-type: text/plain", "-d", f"@{body}", URL)
    assert "[CREDIT_CARD_1]" in extproc("explain", "--config", CONFIG, *arguments).out
    assert extproc("explain", "--config", CONFIG, "-d", "@/nowhere", URL).code == 2


def test_explain_takes_bytes_that_are_no_text(extproc: Run) -> None:
    raw = b"\xff\xfe".decode("utf-8", "surrogateescape")
    ran = extproc("explain", "--config", CONFIG, "--as", "ai-workloads/default", "-d", raw, "-H", f"x: {raw}", URL)
    assert (ran.code, "400 body_malformed" in ran.out or "415 body_unsupported" in ran.out) == (0, True), ran


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--as", "default"),
        ("--as", "ai-workloads/default/x"),
        ("--as", "ai-workloads/default\n"),
        ("--as", "AI/default"),
        ("-H", "x-team"),
        ("-H", ": search"),
        ("-H", "x team: search"),
        ("-H", "x-team: search\r\nauthorization: mine"),
    ],
)
def test_explain_refuses_what_nobody_can_be_or_send(extproc: Run, option: str, value: str) -> None:
    ran = extproc("explain", "--config", CONFIG, option, value, URL)
    assert (ran.code, f"Invalid value for {option}: " in ran.err, ran.out) == (2, True, "")


def test_explain_of_what_is_no_url(extproc: Run) -> None:
    ran = extproc("explain", "--config", CONFIG, "http://[::1")
    assert (ran.code, "is no URL" in ran.err) == (2, True)


def test_explain_asks_no_dependency_unless_it_is_told_to(extproc: Run, quickstart: Path) -> None:
    file = edited(quickstart, "store: memory\n", "store: redis\n")
    file.write_text(
        file.read_text().replace(
            "\nsecretSources", '\nconnections: {redis: {url: "redis://127.0.0.1:1"}}\nsecretSources', 1
        )
    )
    arguments = ("--config", file, "--as", "ai-workloads/default", "--json", URL)
    assert "leaves" in json.loads(extproc("explain", *arguments).out)
    live = json.loads(extproc("explain", "--live", *arguments).out)
    assert (live["answer"]["status"], live["extension"]) == (503, "quota")


def test_explain_shows_the_backend_that_a_model_leads_to(extproc: Run, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "model-router.md").read_text()
    documents = page.partition("```yaml\n")[2].partition("```")[0]
    version = "apiVersion: egress.extproc.dev/v1alpha1"
    settings = f"{version}\nkind: ExtProcConfiguration\ngateway: egress/egress\nauthentication: none\n"
    openai = documents.rpartition("---\n")[2].replace("anthropic", "openai")
    file = tmp_path / "config.yaml"
    file.write_text(f"{settings}---\n{documents}---\n{openai}")
    for model, backend in (("claude-sonnet-4", "egress/anthropic"), ("gpt-4o", "egress/openai")):
        arguments = ("-H", "content-type: application/json", "-H", "x-gateway-model-name: claude-sonnet-4")
        body = json.dumps({"model": model})
        ran = extproc(
            "explain", "--config", file, "--json", *arguments, "-d", body, "http://llm.example.com/v1/messages"
        )
        found = json.loads(ran.out)
        assert (found["backend"], ["x-gateway-model-name", model] in found["leaves"]["headers"]) == (backend, True), (
            found
        )


# envoy


def test_the_bootstrap_is_yaml_and_never_fails_open(extproc: Run) -> None:
    ran = extproc("envoy", "--config", CONFIG)
    bootstrap = yaml.safe_load(ran.out)
    assert ran.code == 0
    assert "failure_mode_allow: false" in ran.out
    assert bootstrap["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] == 2 * 1048576 + 65536


def test_in_process_the_bootstrap_says_what_environment_it_needs(extproc: Run) -> None:
    ran = extproc("envoy", "--config", CONFIG, "--mode", "inprocess")
    bootstrap = yaml.safe_load(ran.out)
    assert [each["name"] for each in bootstrap["static_resources"]["listeners"]] == ["egress", "policy"]
    assert "failure_mode_allow: false" in ran.out
    environment = dict(word.split("=", 1) for word in shlex.split(ran.out.splitlines()[1].removeprefix("# ")))
    assert environment["EXTPROC_CONFIG"] == str(CONFIG.absolute())
    assert {"EXTPROC_INPROCESS", "LD_PRELOAD", "PYTHONHOME", "PYTHONPATH"} <= set(environment)


@pytest.mark.parametrize("transport", ["http2", "envoy"])
def test_what_is_not_served_is_refused(extproc: Run, transport: str) -> None:
    several = extproc("serve", "--config", CONFIG, "--workers", "2", "--transport", transport)
    assert (several.code, "memory" in several.err) == (2, True)


# catalog


def test_the_catalog_has_every_kind_with_its_schema(extproc: Run) -> None:
    found = json.loads(extproc("catalog", "--json").out)
    assert sorted(found) == sorted(FILTERS)
    assert all(kind["schema"]["additionalProperties"] is False for kind in found.values())
    schema = json.loads(extproc("catalog", "--schema", "QoSController:v1").out)
    assert schema["title"] == "QoSController:v1"
    assert extproc("catalog", "--schema", "Nothing:v1").code == 2


# scan


def test_scan_finds_without_showing(extproc: Run, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("é jane@example.com, 4111 1111 1111 1111")
    ran = extproc("scan", text)
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [(each["entity"], each["start"], each["end"]) for each in found] == [
        ("EMAIL_ADDRESS", 2, 18),
        ("CREDIT_CARD", 20, 39),
    ]
    assert "jane" not in ran.out
    assert extproc("scan", "--redact", "mask", text).out == "é [EMAIL_ADDRESS], [CREDIT_CARD]"
    assert extproc("scan", "--config", CONFIG, text).out == ran.out


def test_scan_of_what_is_no_text(extproc: Run, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    assert "not UTF-8 at byte 0" in extproc("scan", binary).err
    assert extproc("scan", "--redact", "rot13", binary).code == 2
    assert extproc("scan", tmp_path / "nothing").code == 2
