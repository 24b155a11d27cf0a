"""A transfer's story as people read it: one line a fact, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from router.documents import transfer_document
from router.saga_texts import told_age, told_amount, told_time
from router.saga_trace_document import signed_amount
from router.saga_trace_story import Attempt, Figure, ItemStory, Party, Story, Verdict
from router.saga_trace_workflows import NOT_KNOWN
from shard.commands import Kind
from shard.money import format_amount
from shard.outcomes import Outcome
from shard.trace import TracedEntry
from shard.transfers import TransferRecord

_STYLES = {
    Verdict.CLOSED: "green",
    Verdict.OPEN: "yellow",
    Verdict.UNKNOWN: "yellow",
    Verdict.DISAGREES: "red",
}


def show_story(console: Console, story: Story) -> None:
    """Write a story."""
    _show_command(console, story)
    _show_entries(console, story.entries, story.transfer.currency)
    for item in story.items:
        _show_item(console, item, story)
    _show_workflows(console, story)
    _show_moment(console, story)


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, "bold"))


def _line(console: Console, text: str) -> None:
    console.print(Text(f"  {text}"), soft_wrap=True)


def _show_command(console: Console, story: Story) -> None:
    transfer = story.transfer
    told = transfer_document(transfer)
    paid = told["creditor_account"] or "several accounts"
    console.print(Text(f"{transfer.origin} {transfer.reference}", "bold"))
    _line(
        console,
        f"{told['amount']} {transfer.currency} from {transfer.home} to {paid}: "
        f"{transfer.money_state.replace('_', ' ')}" + (f", {told['code']}" if told["code"] else ""),
    )
    _line(
        console,
        f"{told['request_state']} {told_time(transfer.posted_at)} on shard {transfer.booked_on}, "
        f"business date {transfer.business_date}, value date {transfer.value_date}",
    )
    noted = {
        "id": str(transfer.transfer_id),
        "kind": told["kind"],
        "narrative": transfer.narrative,
        "end to end": transfer.end_to_end_id,
        "channel": story.details.channel,
        "actor": story.details.actor,
        "correlation": story.details.correlation_id,
        "trace": story.details.trace_id,
    }
    _line(console, ", ".join(f"{name} {value}" for name, value in noted.items() if value))
    for event in story.events:
        state = event.money_state.replace("_", " ")
        _line(console, f"{told_time(event.happened_at)}: {state} ({event.cause})")


def _show_entries(console: Console, entries: Iterable[TracedEntry], currency: str) -> None:
    table = Table("shard", "account", "amount", "bucket after", "counterparty", "seq", "posted")
    table.box, table.pad_edge = None, False
    for column in (2, 3):
        table.columns[column].justify = "right"
    for entry in entries:
        amount = signed_amount(entry.amount, currency)
        if entry.held_delta:
            amount += f" (held {signed_amount(entry.held_delta, currency)})"
        table.add_row(
            str(entry.booked_on),
            str(entry.account_no),
            amount,
            format_amount(entry.ledger_after, currency),
            str(entry.counterparty or ""),
            f"{entry.bucket}:{entry.seq}" if entry.bucket else str(entry.seq),
            told_time(entry.posted_at),
        )
    if table.row_count:
        _title(console, "Entries")
        console.print(table)


def _show_item(console: Console, item: ItemStory, story: Story) -> None:
    saga, currency = item.saga, story.transfer.currency
    record = saga.record
    state = record.state.replace("_", " ")
    _title(console, f"Item {record.item.item_id}: {told_amount(saga)}, {state}")
    age = (story.as_of - record.item.parked_at).total_seconds()
    since = f", {told_age(age)} ago" if record.is_open else ""
    _line(console, f"parked {told_time(record.item.parked_at)} on shard {saga.source}{since}")
    for attempt in item.attempts:
        _line(console, _attempt(attempt))
        for entry in attempt.entries:
            _line(console, f"  {_entry(entry, currency)}")
        for decision in saga.decisions:
            if decision.attempt == attempt.number:
                _line(
                    console,
                    f"{told_time(decision.decided_at)}: {decision.choice}, decided by "
                    f"{decision.maker}, checked by {decision.checker}: {decision.reason}",
                )
    if record.settled_at is not None:
        voucher = "" if item.voucher is None else f", by voucher {item.voucher.booking.reference}"
        _line(console, f"settled {told_time(record.settled_at)} on shard {saga.source}{voucher}")
        for entry in item.settlement:
            _line(console, f"  {_entry(entry, currency)}")


def _attempt(attempt: Attempt) -> str:
    whom = "an account that is not known" if attempt.target is None else str(attempt.target)
    begun = f"attempt {attempt.number} to {whom}"
    if not attempt.is_known:
        return f"{begun}: its shard does not answer"
    return f"{begun}: {_met(attempt.delivery)}"


def _met(delivery: TransferRecord | None) -> str:
    if delivery is None:
        return "nothing is stored about it"
    when = f"{told_time(delivery.posted_at)} on shard {delivery.booked_on}"
    if delivery.kind is Kind.TOMBSTONE:
        return f"recalled {when}"
    if delivery.outcome is Outcome.POSTED:
        return f"booked {when}"
    return f"refused {when}: {delivery.outcome}"


def _entry(entry: TracedEntry, currency: str) -> str:
    return (
        f"{signed_amount(entry.amount, currency)} {currency} on account {entry.account_no} "
        f"of shard {entry.booked_on}"
    )


def _show_workflows(console: Console, story: Story) -> None:
    if not story.workflows.states:
        return
    _title(console, "Workflows")
    for each in story.workflows.states:
        closed = "" if each.closed_at is None else f" {told_time(each.closed_at)}"
        has_page = each.page is not None and each.state != NOT_KNOWN
        page = f"  {each.page}" if has_page else ""
        _line(console, f"{each.workflow}: {each.state}{closed}{page}")
    if story.workflows.failure is not None:
        _line(console, story.workflows.failure)


def _show_moment(console: Console, story: Story) -> None:
    _title(console, f"At this moment ({told_time(story.as_of)})")
    for party in story.parties:
        _line(console, f"customer: {_party(party)}")
    for told in _ledger(story):
        _line(console, f"ledger: {told}")
    for line in story.reconciled:
        verdict = (line.verdict.value, _STYLES[line.verdict])
        console.print(
            Text.assemble("  reconciliation: ", verdict, f": {line.text}"), soft_wrap=True
        )


def _party(party: Party) -> str:
    if party.balance is None:
        return f"{party.role} {party.account}: {party.absence}"
    balance, currency = party.balance, party.balance.currency
    available = (
        "without a floor"
        if balance.available is None
        else f"{format_amount(balance.available, currency)} available"
    )
    return (
        f"{party.role} {party.account} has {format_amount(balance.ledger, currency)} {currency} "
        f"booked, {available}, {format_amount(balance.in_transit, currency)} in transit"
    )


def _ledger(story: Story) -> Iterator[str]:
    if not story.figures:
        yield "no suspense or clearing account takes part"
    for figure in story.figures:
        yield _figure(figure)


def _figure(figure: Figure) -> str:
    name = f"{figure.role} account {figure.account} of shard {figure.shard}"
    if figure.balance is None:
        return f"{name} could not be read"
    balance = f"{name} stands at {format_amount(figure.balance, figure.currency)} {figure.currency}"
    if not figure.part:
        return f"{balance}, nothing of it from this transfer any more"
    return f"{balance}, {signed_amount(figure.part, figure.currency)} of it from this transfer"
