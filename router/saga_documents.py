"""Items and what is said about them, as commands write them with ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from router.documents import Document
from router.saga_reads import AtTarget, OpenSagas, Outlook, Saga
from router.saga_texts import ChoiceText, Explanation
from shard.money import format_amount
from shard.repairs import DecisionRecord


def open_sagas_document(opened: OpenSagas, as_of: datetime) -> Document:
    """A list of open items; ``not_answering`` names the shards whose items are missing in it."""
    return {
        "data": [saga_document(saga, as_of) for saga in opened.sagas],
        "has_more": opened.has_more,
        "not_answering": silent_document(opened.silent),
    }


def silent_document(silent: Mapping[int, str]) -> list[Document]:
    """Shards that did not answer, and why."""
    return [{"shard": number, "reason": silent[number]} for number in sorted(silent)]


def saga_document(saga: Saga, as_of: datetime) -> Document:
    """An item and the workflow that holds it, or held it last."""
    record, item = saga.record, saga.record.item
    return {
        "item": item.item_id,
        "shard": saga.source,
        "state": record.state,
        "carrier": item.carrier,
        "attempt": item.attempt,
        "amount": format_amount(item.amount, item.currency),
        "currency": item.currency,
        "debtor_account": str(item.debtor),
        "origin": item.origin,
        "reference": item.reference,
        "transfer_id": item.transfer_id,
        "kind": item.kind,
        "target_account": str(item.target),
        "is_return": item.is_return,
        "destination": saga.destination,
        "last_refusal": item.last_refusal,
        "parked_at": item.parked_at,
        "age_s": round((as_of - item.parked_at).total_seconds(), 3) if record.is_open else None,
        "business_date": item.business_date,
        "value_date": item.value_date,
        "convoy": item.convoy,
        "settled_at": record.settled_at,
        "settled_on": record.settled_on,
        "booked_on": record.booked_on,
        "workflow": saga.workflow,
        "page": saga.page,
        "decisions": [decision_document(each) for each in saga.decisions],
    }


def decision_document(decision: DecisionRecord) -> Document:
    """A decision that was carried out."""
    return {
        "n": decision.n,
        "decision": decision.decision_id,
        "choice": decision.choice,
        "attempt": decision.attempt,
        "evidence": decision.evidence,
        "account_before": str(decision.target_before),
        "account_after": str(decision.target_after),
        "until": decision.wait_until,
        "reason": decision.reason,
        "maker": decision.maker,
        "checker": decision.checker,
        "decided_at": decision.decided_at,
        "business_date": decision.business_date,
    }


def explanation_document(outlook: Outlook, told: Explanation) -> Document:
    """An item with all that is said about it."""
    at_target = outlook.at_target
    return {
        "item": saga_document(outlook.saga, outlook.as_of),
        "at_target": {
            "state": at_target.state,
            "shard": at_target.shard,
            "is_moving": at_target.is_moving,
            "refusal": at_target.refusal,
            "booked_on": at_target.booked_on,
            "posted_at": at_target.posted_at,
            "reason": at_target.reason,
        },
        "what_happened": told.what_happened,
        "where": told.where,
        "carrier": told.carrier,
        "advice": told.advice,
        "choices": [_choice_document(each) for each in told.choices],
        "more": told.more,
    }


def is_told_wholly(outlook: Outlook) -> bool:
    """Whether everybody answered whom the present attempt of an item depends on."""
    return outlook.at_target.state is not AtTarget.SILENT


def _choice_document(choice: ChoiceText) -> Document:
    return {
        "choice": choice.choice,
        "is_safe": choice.is_safe,
        "why": choice.why,
        "update": choice.update,
        "command": choice.ledger,
        "temporal_command": choice.temporal,
    }
