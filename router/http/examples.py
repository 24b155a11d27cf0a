"""Answers as the OpenAPI document shows them: one customer's rent, an invoice, a card payment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Example = Mapping[str, Any]

TRANSFER: Final[Example] = {
    "id": "0193a4f2-7c1e-7000-8000-000000000001",
    "reference": "PAY-17",
    "kind": "ordinary",
    "debtor_account": "2000000123",
    "creditor_account": "2000000456",
    "legs": None,
    "amount": "20.00",
    "currency": "EUR",
    "request_state": "accepted",
    "money_state": "posted",
    "evidence_state": "present",
    "code": None,
    "business_date": "2026-11-21",
    "value_date": "2026-11-21",
    "posted_at": "2026-11-21T09:30:00.123456Z",
    "delivered_at": None,
    "workflow": None,
}
TRANSFER_IN_TRANSIT: Final[Example] = {
    **TRANSFER,
    "creditor_account": "3000000456",
    "money_state": "in_transit",
    "evidence_state": "pending",
    "workflow": "convoy/2/0193a4f2-7c1e-7000-8000-00000000000c",
}
TRANSFER_DELIVERED: Final[Example] = {
    **TRANSFER_IN_TRANSIT,
    "money_state": "delivered",
    "evidence_state": "present",
    "delivered_at": "2026-11-21T09:30:00.131072Z",
}
REVERSAL: Final[Example] = {
    **TRANSFER,
    "id": "0193a4f2-7c1e-7000-8000-000000000002",
    "reference": "REV-17",
    "kind": "reversal",
    "debtor_account": "2000000456",
    "creditor_account": "2000000123",
    "amount": "5.00",
}
REVERSAL_IN_TRANSIT: Final[Example] = {
    **TRANSFER_IN_TRANSIT,
    "reference": "REV-17",
    "kind": "reversal",
    "debtor_account": "3000000456",
    "creditor_account": "2000000123",
    "code": "RECALLED",
}
HOLD: Final[Example] = {
    "account": "2000000123",
    "reference": "AUTH-9",
    "currency": "EUR",
    "amount": "30.00",
    "captured": "0.00",
    "remaining": "30.00",
    "state": "pending",
    "creditor_account": None,
    "placed_at": "2026-11-21T09:30:00.123456Z",
    "expires_at": "2026-11-28T09:30:00Z",
    "closed_at": None,
}
HOLD_INCREASED: Final[Example] = {**HOLD, "amount": "35.00", "remaining": "35.00"}
HOLD_VOIDED: Final[Example] = {
    **HOLD,
    "reference": "AUTH-8",
    "creditor_account": "3000000456",
    "remaining": "0.00",
    "state": "voided",
    "closed_at": "2026-11-22T14:05:00.654321Z",
}
HOLD_CAPTURED: Final[Example] = {
    **HOLD,
    "captured": "25.00",
    "remaining": "0.00",
    "state": "captured",
    "closed_at": "2026-11-22T14:05:00.654321Z",
}
CAPTURE: Final[Example] = {
    "transfer": {**TRANSFER, "reference": "CAP-9", "kind": "capture", "amount": "25.00"},
    "hold": HOLD_CAPTURED,
}
CAPTURE_IN_TRANSIT: Final[Example] = {
    "transfer": {
        **TRANSFER_IN_TRANSIT,
        "reference": "CAP-9",
        "kind": "capture",
        "amount": "25.00",
    },
    "hold": HOLD_CAPTURED,
}
ACCOUNT: Final[Example] = {
    "account": "2000000123",
    "customer": "C-000123",
    "currency": "EUR",
    "kind": "customer",
    "status": "open",
    "frozen_for": None,
    "overdraft_limit": "0.00",
    "minimum_balance": "0.00",
    "metadata": {"crm_id": "0042"},
    "shard": 2,
    "opened_on": "2026-11-21",
}
ACCOUNT_FROZEN: Final[Example] = {
    **ACCOUNT,
    "status": "frozen",
    "frozen_for": "everything",
}
SHARDS: Final[Example] = {
    "data": [
        {
            "shard": 2,
            "state": "serving",
            "business_date": "2026-11-21",
            "ranges": [
                {
                    "range_id": 1005,
                    "lo": "2000000000",
                    "hi": "2250000000",
                    "epoch": 1,
                    "state": "owned",
                    "next_owner": None,
                }
            ],
            "load": {"queued_commands": 0, "batches": 812, "commands": 24310},
        }
    ],
    "next_cursor": None,
}
READY: Final[Example] = {
    "status": "ready",
    "checks": {"shard-2": "ok", "shard-3": "not answering", "directory": "ok", "temporal": "ok"},
}
METRICS: Final = (
    "# HELP ledger_shard_up Whether the shard answers.\n"
    "# TYPE ledger_shard_up gauge\n"
    'ledger_shard_up{shard="2"} 1.0\n'
)
