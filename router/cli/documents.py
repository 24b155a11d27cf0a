"""What commands write with ``--json``; the members are named as in the HTTP API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shard.commands import MoneyState
from shard.money import format_amount
from shard.outcomes import Outcome

if TYPE_CHECKING:
    from router.payroll import PayrollResult
    from shard.accounts import Account
    from shard.balances import Balance
    from shard.statements import EntryLine
    from shard.transfers import TransferRecord

Document = dict[str, object]


def account_document(account: Account, shard: int) -> Document:
    """An account, like ``GET /v1/accounts/{account}``."""
    limit = account.overdraft_limit
    return {
        "account": str(account.account_no),
        "customer": account.customer,
        "currency": account.currency,
        "kind": account.kind,
        "status": account.status,
        "overdraft_limit": None if limit is None else format_amount(limit, account.currency),
        "shard": shard,
        "opened_on": account.opened_on,
    }


def balance_document(balance: Balance) -> Document:
    """A balance, like ``GET /v1/accounts/{account}/balance``."""
    currency, available = balance.currency, balance.available
    return {
        "account": str(balance.account_no),
        "currency": currency,
        "ledger": format_amount(balance.ledger, currency),
        "held": format_amount(balance.held, currency),
        "available": None if available is None else format_amount(available, currency),
        "in_transit": format_amount(balance.in_transit, currency),
        "seq": int(balance.seq) if balance.seq.isdecimal() else balance.seq,
        "as_of": balance.as_of,
    }


def entry_document(line: EntryLine, currency: str) -> Document:
    """One entry, like ``GET /v1/accounts/{account}/entries``."""
    return {
        "seq": line.seq,
        "bucket": line.bucket,
        "transfer_id": line.transfer_id,
        "reference": line.reference,
        "amount": format_amount(line.amount, currency),
        "held_delta": format_amount(line.held_delta, currency),
        "ledger_after": format_amount(line.ledger_after, currency),
        "held_after": format_amount(line.held_after, currency),
        "counterparty": None if line.counterparty is None else str(line.counterparty),
        "business_date": line.business_date,
        "value_date": line.value_date,
        "posted_at": line.posted_at,
        "narrative": line.narrative,
    }


def transfer_document(record: TransferRecord) -> Document:
    """An accepted transfer, like ``GET /v1/transfers/{account}/{reference}``."""
    is_open = record.money_state in (MoneyState.IN_TRANSIT, MoneyState.NEEDS_REPAIR)
    return {
        "id": record.transfer_id,
        "reference": record.reference,
        "debtor_account": str(record.home),
        "creditor_account": None if record.creditor is None else str(record.creditor),
        "amount": format_amount(record.amount, record.currency),
        "currency": record.currency,
        "request_state": "accepted" if record.outcome is Outcome.POSTED else "refused",
        "money_state": record.money_state,
        "evidence_state": "pending" if is_open else "present",
        "code": record.return_code,
        "business_date": record.business_date,
        "posted_at": record.posted_at,
        "delivered_at": record.delivered_at,
    }


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
