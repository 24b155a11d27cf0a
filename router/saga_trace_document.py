"""A transfer's story as one JSON document."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from router.documents import Document, balance_document, transfer_document
from router.saga_documents import saga_document
from router.saga_trace_story import Attempt, Figure, ItemStory, Party, Story
from shard.money import format_amount
from shard.trace import TracedEntry, TransferEvent


def story_document(story: Story) -> Document:
    """All that is known of a transfer; ``not_read`` names what could not be read."""
    transfer, details = story.transfer, story.details
    currency = transfer.currency
    return {
        "as_of": story.as_of,
        "transfer": transfer_document(transfer)
        | {
            "origin": transfer.origin,
            "shard": story.shard,
            "booked_on": transfer.booked_on,
            "narrative": transfer.narrative,
            "purpose": transfer.purpose,
            "end_to_end_id": transfer.end_to_end_id,
            "channel": details.channel,
            "actor": details.actor,
            "correlation_id": details.correlation_id,
            "trace_id": details.trace_id,
        },
        "events": [_event(event) for event in story.events],
        "entries": _entries(story.entries, currency),
        "items": [_item(item, story) for item in story.items],
        "workflows": [
            {
                "workflow": each.workflow,
                "state": each.state,
                "closed_at": each.closed_at,
                "page": each.page,
            }
            for each in story.workflows.states
        ],
        "temporal": {"failure": story.workflows.failure},
        "moment": {
            "customer": [_party(party) for party in story.parties],
            "ledger": [_figure(figure) for figure in story.figures],
            "reconciliation": [
                {"verdict": line.verdict, "text": line.text} for line in story.reconciled
            ],
        },
        "not_read": [{"what": gap.what, "reason": gap.reason} for gap in story.gaps],
    }


def signed_amount(amount: Decimal, currency: str) -> str:
    """An amount with its sign, credit +."""
    return f"{'+' if amount > 0 else ''}{format_amount(amount, currency)}"


def _event(event: TransferEvent) -> Document:
    return {
        "n": event.n,
        "happened_at": event.happened_at,
        "business_date": event.business_date,
        "money_state": event.money_state,
        "cause": event.cause,
    }


def _entries(entries: Iterable[TracedEntry], currency: str) -> list[Document]:
    return [
        {
            "shard": entry.booked_on,
            "account": str(entry.account_no),
            "bucket": entry.bucket,
            "seq": entry.seq,
            "amount": format_amount(entry.amount, currency),
            "held_delta": format_amount(entry.held_delta, currency),
            "ledger_after": format_amount(entry.ledger_after, currency),
            "counterparty": None if entry.counterparty is None else str(entry.counterparty),
            "business_date": entry.business_date,
            "value_date": entry.value_date,
            "posted_at": entry.posted_at,
        }
        for entry in entries
    ]


def _item(item: ItemStory, story: Story) -> Document:
    currency, voucher = story.transfer.currency, item.voucher
    return saga_document(item.saga, story.as_of) | {
        "attempts": [_attempt(attempt, currency) for attempt in item.attempts],
        "settlement": None
        if voucher is None
        else {
            "reference": voucher.booking.reference,
            "amount": format_amount(voucher.amount, currency),
            "business_date": voucher.booking.business_date,
            "posted_at": voucher.booking.posted_at,
            "entries": _entries(item.settlement, currency),
        },
    }


def _attempt(attempt: Attempt, currency: str) -> Document:
    delivery = attempt.delivery
    return {
        "attempt": attempt.number,
        "account": None if attempt.target is None else str(attempt.target),
        "is_known": attempt.is_known,
        "outcome": None if delivery is None else delivery.outcome,
        "kind": None if delivery is None else delivery.kind,
        "booked_on": delivery.booked_on if delivery is not None and attempt.is_booked else None,
        "at": None if delivery is None else delivery.posted_at,
        "business_date": None if delivery is None else delivery.business_date,
        "entries": _entries(attempt.entries, currency),
    }


def _party(party: Party) -> Document:
    return {
        "account": str(party.account),
        "role": party.role,
        "balance": None if party.balance is None else balance_document(party.balance),
        "absence": party.absence,
    }


def _figure(figure: Figure) -> Document:
    balance = figure.balance
    return {
        "shard": figure.shard,
        "account": str(figure.account),
        "role": figure.role,
        "currency": figure.currency,
        "part": format_amount(figure.part, figure.currency),
        "balance": None if balance is None else format_amount(balance, figure.currency),
    }
