"""What is told of an exchange: names and words, never a header, a body or a secret."""

from collections.abc import Mapping
from typing import Any, Final

from extproc.core.chain import Denial
from extproc.core.event import Record
from extproc.core.journal import Journal
from extproc.core.state import State

USED: Final = ("input_tokens", "output_tokens", "total_tokens")
"""How reports name what an answer said was used."""


def record(gateway: str, request_id: str, state: State | None, denial: Denial | None, journal: Journal) -> Record:
    """What is told of an exchange, so far or at its end."""
    peer = state.peer if state else None
    return Record(
        gateway=gateway,
        route=str(state.route or "") if state else "",
        backend=str(state.backend or "") if state else "",
        namespace=peer.namespace if peer else "",
        service_account=peer.service_account if peer else "",
        request_id=request_id,
        code=denial.respond.code if denial else "",
        reason=denial.respond.reason if denial else "",
        extension=denial.extension if denial else "",
        phase=denial.phase if denial else "",
        failure=(denial.failure or "") if denial else "",
        decisions=tuple(journal.decisions),
        skips=tuple(journal.skips),
        unsettled=tuple(journal.unsettled),
        reports=state.reports if state else {},
        began=journal.began,
        trace=journal.trace,
        request_bytes=journal.request_bytes,
        response_bytes=journal.response_bytes,
    )


def metadata(state: State | None, denial: Denial | None, journal: Journal) -> dict[str, Any]:
    """The dynamic metadata of an exchange so far (namespace `extproc`): what access logs and other filters can read."""
    peer = state.peer if state else None
    found: dict[str, Any] = {
        "peer": {
            "namespace": peer.namespace if peer else "",
            "serviceAccount": peer.service_account if peer else "",
        },
        "route": str(state.route or "") if state else "",
        "backend": str(state.backend or "") if state else "",
        "decisions": {f"{one.extension}/{one.phase}": one.word for one in journal.decisions},
    }
    if journal.skips:
        found["skipped"] = [{"extension": s.extension, "phase": s.phase, "cause": s.cause} for s in journal.skips]
    if state and state.reports:
        found["reports"] = {name: dict(report) for name, report in state.reports.items()}
        if usage := used(state.reports):
            found["usage"] = usage
    if denial:
        found["denied"] = {"code": denial.respond.code, "extension": denial.extension}
    return found


def used(reports: Mapping[str, Mapping[str, int | str]]) -> dict[str, int]:
    """What the exchange used. Several extensions may have read the same answer: then it counts once, as the largest number."""
    found: dict[str, int] = {}
    for report in reports.values():
        for name in USED:
            number = report.get(name)
            if isinstance(number, int) and number > found.get(name, 0):
                found[name] = number
    return found
