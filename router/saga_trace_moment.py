"""What a customer, the ledger and reconciliation would see of a transfer at this moment."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from router.routing import Routes
from router.saga_texts import told_amount, told_time
from router.saga_trace_story import Figure, Gap, ItemStory, Party, Reconciled, Verdict
from shard.account_numbers import clearing_account, suspense_account
from shard.balances import Balance
from shard.commands import MoneyState
from shard.errors import LedgerError, NotFound
from shard.outcomes import Outcome
from shard.trace import TracedEntry
from shard.transfers import TransferRecord


@dataclass(frozen=True, slots=True)
class Moment:
    """Balances of customers and of the system accounts between the shards."""

    parties: tuple[Party, ...]
    figures: tuple[Figure, ...]
    gaps: tuple[Gap, ...]


def debtors_of(transfer: TransferRecord) -> list[int]:
    """The accounts that pay."""
    paying = [int(leg["account"]) for leg in transfer.legs or () if leg["amount"].startswith("-")]
    return paying or [transfer.home]


def creditors_of(transfer: TransferRecord, part: Decimal | None = None) -> list[int]:
    """The accounts that are paid; with ``part`` those alone that are paid so much."""
    if transfer.creditor is not None:
        return [transfer.creditor]
    return [
        int(leg["account"])
        for leg in transfer.legs or ()
        if not leg["amount"].startswith("-") and part in {None, Decimal(leg["amount"])}
    ]


async def balances_of(
    routes: Routes, transfer: TransferRecord, items: Sequence[ItemStory]
) -> Moment:
    """Read every balance that this transfer has moved, or is about to."""
    gaps: list[Gap] = []
    debtors = debtors_of(transfer)
    present = [item.saga.record.item.target for item in items]
    roles = dict.fromkeys(debtors, "debtor")
    for account in (*creditors_of(transfer), *present):
        roles.setdefault(account, "creditor")

    async def read(account: int) -> tuple[Balance | None, str | None]:
        try:
            return await routes.follow(account, lambda s: s.balances.get(account)), None
        except NotFound as error:
            return None, error.detail
        except LedgerError as error:
            gaps.append(Gap(f"The balance of account {account}", error.detail))
            return None, error.detail

    parts = _parts(items)
    told = await asyncio.gather(*map(read, (*roles, *(account for _, account in parts))))
    parties = [
        Party(account, role, *each)
        for (account, role), each in zip(roles.items(), told[: len(roles)], strict=True)
    ]
    figures = [
        Figure(
            shard=shard,
            account=account,
            role="suspense"
            if account == suspense_account(shard, transfer.currency)
            else "clearing",
            currency=transfer.currency,
            part=part,
            balance=None if balance is None else balance.ledger,
        )
        for ((shard, account), part), (balance, _) in zip(
            parts.items(), told[len(roles) :], strict=True
        )
    ]
    return Moment(tuple(parties), tuple(figures), tuple(gaps))


def _parts(items: Sequence[ItemStory]) -> dict[tuple[int, int], Decimal]:
    """What of the transfer stands on which shard's system account: signed, credit +."""
    parts: defaultdict[tuple[int, int], Decimal] = defaultdict(Decimal)
    for story in items:
        record, source = story.saga.record, story.saga.source
        item = record.item
        suspense = (source, suspense_account(source, item.currency))
        booked = next((each for each in story.attempts if each.is_booked), None)
        if record.is_open:
            parts[suspense] += item.amount
        elif record.booked_on is not None:
            parts[suspense] += 0
            parts[source, clearing_account(source, record.booked_on, item.currency)] += item.amount
        here = record.booked_on
        if booked is not None and booked.delivery is not None:
            here = booked.delivery.booked_on
        if here is not None:
            parts[here, clearing_account(here, source, item.currency)] -= item.amount
    return dict(parts)


def reconciled(
    transfer: TransferRecord,
    entries: Sequence[TracedEntry],
    items: Sequence[ItemStory],
    gaps: Sequence[Gap],
) -> Iterator[Reconciled]:
    """One line for each item, or for the transfer where it has none."""
    if items:
        for story in items:
            yield _item(story)
    elif transfer.outcome is not Outcome.POSTED:
        yield Reconciled(Verdict.CLOSED, f"It was refused ({transfer.outcome}): no money moved.")
    elif transfer.money_state is MoneyState.NONE:
        yield Reconciled(Verdict.CLOSED, "It moves no money from one account to another.")
    else:
        yield _local(transfer, entries, gaps)


def _local(
    transfer: TransferRecord, entries: Sequence[TracedEntry], gaps: Sequence[Gap]
) -> Reconciled:
    total = sum((entry.amount for entry in entries), Decimal(0))
    if gaps:
        return Reconciled(Verdict.UNKNOWN, "Not all of its entries could be read.")
    if total or not entries:
        return Reconciled(Verdict.DISAGREES, f"Its {len(entries)} entries sum to {total}, not 0.")
    return Reconciled(
        Verdict.CLOSED,
        f"Booked on shard {transfer.booked_on} alone; its {len(entries)} entries sum to zero.",
    )


def _item(story: ItemStory) -> Reconciled:
    record = story.saga.record
    booked = [attempt for attempt in story.attempts if attempt.is_booked]
    name = f"Item {record.item.item_id}, {told_amount(story.saga)}"
    if len(booked) > 1:
        numbers = " and ".join(str(attempt.number) for attempt in booked)
        return Reconciled(Verdict.DISAGREES, f"{name}: attempts {numbers} were both booked.")
    verdict, text = _open_item(story) if record.is_open else _closed_item(story)
    return Reconciled(verdict, f"{name}: {text}")


def _open_item(story: ItemStory) -> tuple[Verdict, str]:
    record, present, source = story.saga.record, story.present, story.saga.source
    since = f"open on shard {source} since {told_time(record.item.parked_at)}"
    if present.is_booked and present.delivery is not None:
        delivery = present.delivery
        return Verdict.OPEN, (
            f"{since}; booked on shard {delivery.booked_on} at {told_time(delivery.posted_at)}, "
            "settlement outstanding."
        )
    if any(attempt.is_booked for attempt in story.attempts):
        return Verdict.DISAGREES, f"{since}, although an attempt before this one was booked."
    if not present.is_known:
        return Verdict.UNKNOWN, f"{since}; what became of attempt {present.number} is not known."
    met = "booked nowhere yet"
    if present.delivery is not None:
        met = f"attempt {present.number} met {present.delivery.outcome}"
    return Verdict.OPEN, f"{since}; {met}."


def _closed_item(story: ItemStory) -> tuple[Verdict, str]:
    record, present = story.saga.record, story.present
    settled = "" if story.voucher is None else f", voucher {story.voucher.booking.reference}"
    told = f"{record.state} on shard {record.booked_on}, settled on {record.settled_on}{settled}"
    if not present.is_known:
        return Verdict.UNKNOWN, f"{told}; the delivery itself could not be read."
    if present.delivery is None or not present.is_booked:
        return Verdict.DISAGREES, f"{told}; but no shard has booked attempt {present.number}."
    if present.delivery.booked_on != record.booked_on:
        return Verdict.DISAGREES, f"{told}; but shard {present.delivery.booked_on} booked it."
    return Verdict.CLOSED, f"{told}."
