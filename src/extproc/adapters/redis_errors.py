"""What Redis and its client library can say, as sentences of ours: foreign exceptions and their texts end here."""

import re
from typing import Final

from redis.exceptions import (
    AskError,
    MovedError,
    NoScriptError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from extproc.adapters.untrusted import refusal

SENTENCES: Final = {
    "LOADING": "it is loading its data",
    "READONLY": "it is a replica, which takes no writes",
    "OOM": "it is out of memory",
    "MISCONF": "it cannot save its data, and takes no writes",
    "NOREPLICAS": "it has too few replicas, and takes no writes",
    "BUSY": "it is busy with somebody's script",
    "NOAUTH": "it wants a password",
    "WRONGPASS": "it refuses the user name or the password",
    "NOPERM": "its access rules forbid a command or key that counting needs",
    "CLUSTERDOWN": "its cluster is down",
    "MASTERDOWN": "its link to the master is down",
}
"""States of the whole server, by the code of the error reply: what asks next would hear the same."""

GO_ELSEWHERE: Final = (MovedError, AskError, TryAgainError, NoScriptError)
"""Replies of a server that is well: the caller deals with them."""

_CODE: Final = re.compile(r"(?:^|-)([A-Z]{2,16})\b")


class Unread(RedisError):
    """There is no password that could be sent. Python's own error about one that is no text quotes it whole."""


def state(error: Exception) -> str | None:
    """The code in SENTENCES, if the error tells of the whole server."""
    if isinstance(error, GO_ELSEWHERE):
        return None
    return next((code for code in _codes(error) if code in SENTENCES), None)


def sentence(error: Exception) -> str:
    """What is wrong; never the text of the error, which may name users and keys."""
    if code := state(error):
        return SENTENCES[code]
    if isinstance(error, ResponseError):
        return f"it refuses the call ({next(iter(_codes(error)), 'ERR')})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, Unread):
        return "its password cannot be read, or is not UTF-8"
    untrusted = refusal(error)
    return f"its certificate is not accepted{untrusted}" if untrusted else "no connection"


def _codes(error: Exception) -> list[str]:
    """Codes that the error names. The client library takes the known ones out of the text; within a script, Redis before 7
    puts them into the middle of it, behind a hyphen.
    """
    known = getattr(error, "status_code", None)
    return [known, *_CODE.findall(str(error))] if known else _CODE.findall(str(error))
