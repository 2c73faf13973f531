"""A value nobody may see."""

import copy
import pickle
import traceback
from pathlib import Path

import pytest

from extproc.core.secret import mac_key, seal, unseal, unseal_core, wrap

CANARY = b"sk-canary-1234"


def test_the_codec_reads_what_was_sealed() -> None:
    secret = seal(CANARY)
    assert unseal(secret) == CANARY
    assert unseal(wrap(secret, "Bearer {value}")) == b"Bearer " + CANARY
    assert unseal_core(wrap(secret, "Bearer {value}")) == CANARY


def test_nothing_shows_it() -> None:
    secret = wrap(seal(CANARY), "Bearer {value}")
    shown = [repr(secret), str(secret), f"{secret!a}", repr([secret]), repr({"k": secret}), f"{secret}"]
    assert shown == ["***", "***", "***", "[***]", "{'k': ***}", "***"]
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)


def test_a_traceback_does_not_show_it() -> None:
    secret = seal(CANARY)
    try:
        raise ValueError(secret)
    except ValueError:
        assert CANARY.decode() not in traceback.format_exc()


def test_a_key_derived_from_it_depends_on_value_and_purpose() -> None:
    one, other = seal(CANARY), seal(b"another")
    macs = {mac_key(one, b"a")(b"m"), mac_key(one, b"b")(b"m"), mac_key(other, b"a")(b"m"), mac_key(one, b"a")(b"n")}
    assert len(macs) == 4
    assert all(len(mac) == 32 for mac in macs)


def test_only_the_codec_unseals() -> None:
    sources = [path for folder in ("src/extproc", "filters") for path in Path(folder).rglob("*.py")]
    assert len(sources) > 10
    users = {str(path) for path in sources if "unseal" in path.read_text()}
    assert users <= {"src/extproc/core/secret.py", "src/extproc/wire/codec.py"}
