"""What a server wrote into its log that nobody expects of one that is well."""

import json
from collections import Counter
from pathlib import Path

GRAVE = frozenset({"error", "critical"})
RAW = ("Traceback", "[critical]", "Fatal Python error")
"""Of what does not come from our log: Python's last words, and Envoy's."""

SPOILED = "configuration_refused"
"""That a configuration is none was to be told."""

SHOWN = 200
"""Characters of a line."""


def strange(log: Path) -> list[str]:
    """A sentence for each kind of line that tells of a fault of the server's own. That a stream was refused for what its client
    said is none: it is told with a sentence, and a defect by the name of an exception.
    """
    found: Counter[str] = Counter()
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if what := _fault(line):
                found[what] += 1
    return [f"the log has {number} lines like: {what}" for what, number in found.items()]


def _fault(line: str) -> str:
    """What a line tells of, without what differs from line to line; empty if it is nothing."""
    if not line.startswith("{"):
        return line.strip()[:SHOWN] if any(word in line for word in RAW) else ""
    told = json.loads(line)
    refused = told["event"] == "stream_failed" and " " in told.get("error", "")
    if told["level"] not in GRAVE or refused or told["event"] == SPOILED:
        return ""
    return f"{told['event']} {told.get('error', '')} {told.get('at', '')}".strip()[:SHOWN]
