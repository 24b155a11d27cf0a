"""Accounts, transfers, holds and entries as the HTTP API answers them and commands write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shard.commands import Kind, MoneyState, Origin
from shard.money import format_amount
from shard.outcomes import Outcome

if TYPE_CHECKING:
    from shard.accounts import Account
    from shard.balances import Balance
    from shard.holds import Hold
    from shard.statements import EntryLine, StatementBounds
    from shard.transfers import TransferRecord

Document = dict[str, Any]
"""Members of a JSON object; the writer knows ids, dates and times by itself."""


_EVIDENCE_PENDING = frozenset({MoneyState.IN_TRANSIT, MoneyState.NEEDS_REPAIR})
_FORCED = "correction"
_FROZEN_FOR = {True: "debits", False: "everything"}


def account_document(account: Account, shard: int) -> Document:
    """An account; ``shard`` is where it lives."""
    limit, is_frozen = account.overdraft_limit, account.status == "frozen"
    return {
        "account": str(account.account_no),
        "customer": account.customer,
        "currency": account.currency,
        "kind": account.kind,
        "status": account.status,
        "frozen_for": _FROZEN_FOR[account.credits_when_frozen] if is_frozen else None,
        "overdraft_limit": None if limit is None else format_amount(limit, account.currency),
        "minimum_balance": format_amount(account.minimum_balance, account.currency),
        "metadata": dict(account.metadata or {}),
        "shard": shard,
        "opened_on": account.opened_on,
    }


def balance_document(balance: Balance) -> Document:
    """The four figures of an account and what they belong to."""
    currency, available = balance.currency, balance.available
    return {
        "account": str(balance.account_no),
        "currency": currency,
        "ledger": format_amount(balance.ledger, currency),
        "held": format_amount(balance.held, currency),
        "available": None if available is None else format_amount(available, currency),
        "in_transit": format_amount(balance.in_transit, currency),
        "seq": seq_as_told(balance.seq),
        "as_of": balance.as_of,
    }


def entry_document(line: EntryLine, currency: str) -> Document:
    """One entry."""
    return {
        "seq": line.seq,
        "bucket": line.bucket,
        "transfer_id": line.transfer_id,
        "reference": line.reference,
        "amount": format_amount(line.amount, currency),
        "held_delta": format_amount(line.held_delta, currency),
        "ledger_after": format_amount(line.ledger_after, currency),
        "held_after": format_amount(line.held_after, currency),
        "balance_after": format_amount(line.balance_after, currency),
        "counterparty": None if line.counterparty is None else str(line.counterparty),
        "business_date": line.business_date,
        "value_date": line.value_date,
        "posted_at": line.posted_at,
        "narrative": line.narrative,
    }


def statement_head(bounds: StatementBounds) -> Document:
    """What a statement says before its entries."""
    return {
        "account": str(bounds.account_no),
        "currency": bounds.currency,
        "from": bounds.from_date,
        "to": bounds.to_date,
        "opening_balance": format_amount(bounds.opening, bounds.currency),
    }


def statement_foot(bounds: StatementBounds, entry_count: int) -> Document:
    """What a statement says after its entries."""
    currency, available = bounds.currency, bounds.available
    return {
        "entry_count": entry_count,
        "closing_balance": format_amount(bounds.closing, currency),
        "closing_available": None if available is None else format_amount(available, currency),
        "seq": seq_as_told(bounds.seq),
    }


def seq_as_told(seq: str) -> int | str:
    """A position as a number, or the vector of an account with several buckets."""
    return int(seq) if seq.isdecimal() else seq


def transfer_document(record: TransferRecord) -> Document:
    """A transfer as it stands now."""
    is_accepted = record.outcome is Outcome.POSTED
    code = record.return_code if is_accepted else record.outcome
    return {
        "id": record.transfer_id,
        "reference": record.reference,
        "kind": _kind_of(record),
        "debtor_account": str(record.home),
        "creditor_account": None if record.creditor is None else str(record.creditor),
        "legs": record.legs,
        "amount": format_amount(record.amount, record.currency),
        "currency": record.currency,
        "request_state": "accepted" if is_accepted else "refused",
        "money_state": record.money_state,
        "evidence_state": "pending" if record.money_state in _EVIDENCE_PENDING else "present",
        "code": code,
        "business_date": record.business_date,
        "value_date": record.value_date,
        "posted_at": record.posted_at if is_accepted else None,
        "delivered_at": record.delivered_at,
        "workflow": _workflow_of(record),
    }


def _kind_of(record: TransferRecord) -> str:
    if record.kind is Kind.ORDINARY:
        return "reversal" if record.origin is Origin.REVERSAL else "ordinary"
    if record.kind is Kind.FORCED:
        return record.purpose or _FORCED
    return "capture" if record.kind is Kind.CAPTURE else "hold"


def _workflow_of(record: TransferRecord) -> str | None:
    """The id of the workflow that carried the money first, as Temporal's UI shows it."""
    return f"convoy/{record.booked_on}/{record.convoy}" if record.convoy is not None else None


def hold_document(hold: Hold) -> Document:
    """A hold as it stands now."""
    return {
        "account": str(hold.account_no),
        "reference": hold.reference,
        "currency": hold.currency,
        "amount": format_amount(hold.amount, hold.currency),
        "captured": format_amount(hold.captured, hold.currency),
        "remaining": format_amount(hold.remaining, hold.currency),
        "state": hold.state,
        "creditor_account": None if hold.creditor is None else str(hold.creditor),
        "placed_at": hold.placed_at,
        "expires_at": hold.expires_at,
        "closed_at": hold.closed_at,
    }
