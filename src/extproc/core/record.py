"""What is told of an exchange: names and words, never a header, a body or a secret."""

from typing import Any

from extproc.core.chain import Denial
from extproc.core.event import Record
from extproc.core.journal import Journal
from extproc.core.state import State


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
        "decisions": {f"{extension}/{phase}": word for extension, phase, word, _ in journal.decisions},
    }
    if journal.skips:
        found["skipped"] = [{"extension": s.extension, "phase": s.phase, "cause": s.cause} for s in journal.skips]
    if state and state.reports:
        found["reports"] = {name: dict(report) for name, report in state.reports.items()}
    if denial:
        found["denied"] = {"code": denial.respond.code, "extension": denial.extension}
    return found
