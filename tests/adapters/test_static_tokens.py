"""The token file: read strictly, and never quoted. What a reviewer does is in `contract/`."""

import traceback
from pathlib import Path

import pytest

from extproc.adapters.static_tokens import StaticTokens
from extproc.errors import ConfigError

GOOD = "tokens: [{token: canary, username: alice}]"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "tokens.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


async def test_a_token_without_audiences_is_good_for_none_that_is_asked_for(tmp_path: Path) -> None:
    review = await StaticTokens(written(tmp_path, GOOD), {}).review("canary", ["egress"])
    assert review.peer is not None
    assert review.audiences == ()


def test_refused_inside_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="refused inside a cluster") as caught:
        StaticTokens(written(tmp_path, GOOD), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert caught.value.place.field == "config.reviewer.static"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read: No such file") as caught:
        StaticTokens(tmp_path / "nowhere.yaml", {})
    assert (caught.value.place.file, caught.value.place.field) == ("", "config.reviewer.static.path")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ""),
        ("tokens: []", "tokens"),
        ("tokens: canary", "tokens"),
        ("tokens: [{token: canary}]", "tokens[0].username"),
        ("tokens: [{username: alice}]", "tokens[0].token"),
        ("tokens: [{token: canary, username: alice, admin: canary}]", "tokens[0].admin"),
        ("tokens: [{token: canary, username: alice, groups: canary}]", "tokens[0].groups"),
        ("tokens: [{token: 5, username: alice}]", "tokens[0].token"),
        ("tokens: [{token: '', username: alice}]", "tokens[0].token"),
        ("tokens: [{token: 'canary 2', username: alice}]", "tokens[0].token"),
        ("tokens: [{token: 'canary,2', username: alice}]", "tokens[0].token"),
        ('tokens: [{token: "canary\\n", username: alice}]', "tokens[0].token"),
        (f"tokens: [{{token: {'canary' * 3000}, username: alice}}]", "tokens[0].token"),
        ("tokens: [{token: canary, username: alice}, {token: canary, username: bob}]", "tokens[1].token"),
        ("canary: 1\ntokens: [{token: canary, username: alice}]", "canary"),
    ],
)
def test_a_bad_file_is_refused_at_its_place_and_not_quoted(text: str, place: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        StaticTokens(written(tmp_path, text), {})
    assert caught.value.place.field == place
    assert caught.value.place.file.endswith("tokens.yaml")
    told = "".join(traceback.format_exception(caught.value))
    assert "canary" not in told.replace(place, "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tokens: [", 1),
        ("tokens:\n- token: canary\n  token: canary\n  username: alice", 3),
        ("tokens:\n- token: *canary", 2),
        ("tokens:\n- token: !canary x\n", 2),
        (b"tokens: \xff\xfecanary", 0),
        ("tokens: [\x01canary]", 0),
        ("tokens: [{token: !!int canary, username: alice}]", 0),
        ("tokens: [{token: !!timestamp canary, username: alice}]", 0),
        ("tokens: [{token: canary, username: 2026-13-45}]", 0),
        ("tokens: [{token: canary, username: 0x_}]", 0),
        ("canary: " + "[" * 5000, 0),
    ],
)
def test_no_yaml_is_refused_at_its_line_and_not_quoted(text: str | bytes, line: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not YAML") as caught:
        StaticTokens(written(tmp_path, text), {})
    assert caught.value.place.line == line
    assert "canary" not in "".join(traceback.format_exception(caught.value))
