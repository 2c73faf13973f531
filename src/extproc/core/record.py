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


def metadata(record: Record) -> dict[str, Any]:
    """The dynamic metadata of an exchange so far (namespace `extproc`): what access logs and other filters can read."""
    found: dict[str, Any] = {
        "peer": {"namespace": record.namespace, "serviceAccount": record.service_account},
        "route": record.route,
        "backend": record.backend,
        "decisions": {f"{d.extension}/{d.phase}": d.word for d in record.decisions},
    }
    if record.skips:
        found["skipped"] = [{"extension": s.extension, "phase": s.phase, "cause": s.cause} for s in record.skips]
    if record.reports:
        found["reports"] = {name: dict(report) for name, report in record.reports.items()}
    if record.code:
        found["denied"] = {"code": record.code, "extension": record.extension}
    return found
