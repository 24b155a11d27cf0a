"""What commands write with ``--json``; the members are named as in the HTTP API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.payroll import PayrollResult

Document = dict[str, object]


def payroll_document(result: PayrollResult) -> Document:
    """What became of a payment file."""
    return {
        "message_id": result.message_id,
        "employer": str(result.employer),
        "lines": result.lines,
        "statuses": dict(result.statuses),
        "is_final": result.is_final,
        "booked_now": result.booked_now,
        "was_known": result.was_known,
        "report": str(result.report),
    }
