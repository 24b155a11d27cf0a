"""``ledger sagas list``, ``show`` and ``explain``: looking at money between shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from router.cli.exit_codes import ExitCode
from router.cli.options import AsJson, Folder
from router.cli.runner import run
from router.cli.saga_decisions import add_decisions
from router.cli.terminal import Terminal
from router.limits import SAGAS_LISTED, SAGAS_LISTED_MAX

if TYPE_CHECKING:
    from datetime import datetime

    from router.saga_reads import OpenSagas, Outlook, Saga
    from router.saga_texts import ChoiceText, Explanation

ItemOrAccount = Annotated[
    str,
    typer.Argument(
        metavar="ITEM", help="The item's id; or the ACCOUNT of its transfer, before REFERENCE."
    ),
]
ItemReference = Annotated[
    str | None, typer.Argument(metavar="REFERENCE", help="The transfer's, after ACCOUNT.")
]
ItemOrigin = Annotated[
    str, typer.Option(help="With REFERENCE: who gave it; client, payroll or reversal.")
]

app = typer.Typer(help="Money between shards: what is open, where it is, what may be done.")


@app.command("list")
def list_items(
    ctx: typer.Context,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Parked for so long: 45, 10m, 2h, 3d.")
    ] = None,
    shard: Annotated[int | None, typer.Option(help="The shard that the money left.")] = None,
    destination: Annotated[int | None, typer.Option(help="The shard it goes to.")] = None,
    state: Annotated[str | None, typer.Option(help="parked or needs_repair.")] = None,
    carrier: Annotated[
        str | None, typer.Option(help="What holds it: convoy, route or repair.")
    ] = None,
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code.")] = None,
    amount_from: Annotated[str | None, typer.Option(metavar="AMOUNT", help="At least.")] = None,
    amount_to: Annotated[str | None, typer.Option(metavar="AMOUNT", help="At most.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=SAGAS_LISTED_MAX, help="Items at most.")
    ] = SAGAS_LISTED,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """List the open items of all shards, oldest first.

    Exit code 3: a shard did not answer; it is named, and its items are missing in the list.
    """

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.bank_session import open_bank
        from router.cli.saga_filters import read_wanted
        from router.saga_documents import open_sagas_document

        wanted = read_wanted(
            older_than=older_than,
            shard=shard,
            destination=destination,
            state=state,
            carrier=carrier,
            currency=currency,
            least=amount_from,
            most=amount_to,
            limit=limit,
        )
        async with open_bank(folder) as bank:
            opened = await bank.saga_reads.open_items(wanted)
            as_of = bank.saga_reads.as_of
        document = open_sagas_document(opened, as_of)
        terminal.answer(document, lambda console: _show_list(console, opened, as_of))
        return _told_silence(terminal, opened)

    run(ctx, work, as_json=as_json)


@app.command()
def show(
    ctx: typer.Context,
    item: ItemOrAccount,
    reference: ItemReference = None,
    origin: ItemOrigin = "client",
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show an item, open or closed, or all items of a transfer, with what was decided on them."""

    async def work(terminal: Terminal) -> None:
        from router.cli.bank_session import open_bank
        from router.cli.saga_filters import read_name
        from router.saga_documents import saga_document

        name = read_name(item, reference, origin)
        async with open_bank(folder) as bank:
            sagas = await bank.saga_reads.find(name)
            as_of = bank.saga_reads.as_of
        documents = [saga_document(saga, as_of) for saga in sagas]

        def shown(console: Console) -> None:
            for document in documents:
                _show_item(console, document)

        terminal.answer({"data": documents}, shown)

    run(ctx, work, as_json=as_json)


@app.command()
def explain(
    ctx: typer.Context,
    item: ItemOrAccount,
    reference: ItemReference = None,
    origin: ItemOrigin = "client",
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Tell what happened to an item, where its money is, and what may safely be done now.

    Exit code 3: the shard it goes to did not answer, so only a part could be told.
    """

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.bank_session import open_bank
        from router.cli.saga_filters import read_name
        from router.saga_documents import explanation_document, is_told_wholly
        from router.saga_texts import explain as explained

        name = read_name(item, reference, origin)
        async with open_bank(folder) as bank:
            reads = bank.saga_reads
            outlooks = [await reads.outlook(saga) for saga in await reads.find(name)]
        told = [(outlook, explained(outlook, reads.temporal)) for outlook in outlooks]

        def shown(console: Console) -> None:
            for outlook, explanation in told:
                _show_explanation(console, outlook, explanation)

        terminal.answer({"data": [explanation_document(*each) for each in told]}, shown)
        return ExitCode.DONE if all(map(is_told_wholly, outlooks)) else ExitCode.UNAVAILABLE

    run(ctx, work, as_json=as_json)


def _told_silence(terminal: Terminal, opened: OpenSagas) -> ExitCode:
    for number, reason in sorted(opened.silent.items()):
        terminal.note(f"Shard {number} does not answer, so its items are missing here: {reason}")
    if opened.has_more:
        terminal.note("There are more: --limit shows more of them, filters show fewer.")
    return ExitCode.UNAVAILABLE if opened.silent else ExitCode.DONE


def _show_list(console: Console, opened: OpenSagas, as_of: datetime) -> None:
    if not opened.sagas:
        console.print("No open item.")
        return
    table = Table("item", "from", "to", "amount", "state", "age", "attempt", "met", "workflow")
    table.box, table.pad_edge = None, False
    table.columns[3].justify = "right"
    for saga in opened.sagas:
        table.add_row(*_row(saga, as_of))
    console.print(table)


def _row(saga: Saga, as_of: datetime) -> list[Text]:
    from router.saga_texts import told_age, told_amount

    record, item = saga.record, saga.record.item
    destination = "?" if saga.destination is None else str(saga.destination)
    cells = [
        str(item.item_id),
        f"{item.debtor} ({saga.source})",
        f"{item.target} ({destination})",
        told_amount(saga),
        record.state.replace("_", " "),
        told_age((as_of - item.parked_at).total_seconds()),
        str(item.attempt),
        str(item.last_refusal or ""),
        saga.workflow.partition("/")[0],
    ]
    row = [Text(cell) for cell in cells]
    if saga.page is not None:
        row[-1].stylize(f"link {saga.page}")
    return row


def _show_item(console: Console, document: dict[str, object]) -> None:
    decisions = document["decisions"]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in document.items():
        if name != "decisions":
            table.add_row(name.replace("_", " "), Text("-" if value is None else str(value)))
    console.print(table)
    for decision in decisions if isinstance(decisions, list) else ():
        console.print()
        _show_item(console, {**decision, "decisions": None})


def _show_explanation(console: Console, outlook: Outlook, told: Explanation) -> None:
    from router.saga_texts import told_amount

    saga = outlook.saga
    console.print(
        Text(f"Item {saga.record.item.item_id}: {told_amount(saga)}, {saga.record.state}", "bold")
    )
    parts = [
        ("What happened", " ".join(told.what_happened)),
        ("Where the money is", told.where),
        ("Who carries it", told.carrier),
        ("What to do", told.advice),
    ]
    for title, text in parts:
        console.print(Text.assemble((f"{title}. ", "bold"), text))
    for choice in told.choices:
        _show_choice(console, choice)
    # What is there to be copied is not wrapped.
    for line in filter(None, (saga.page, told.more)):
        console.print(Text(line), soft_wrap=True)
    console.print()


def _show_choice(console: Console, choice: ChoiceText) -> None:
    word, style = ("safe", "green") if choice.is_safe else ("not now", "red")
    name = (choice.choice.value, "bold")
    console.print(Text.assemble(name, ": ", (word, style), f". {choice.why}"))
    if not choice.is_safe:
        return
    console.print(Text(f"  {choice.ledger}"), soft_wrap=True)
    if choice.temporal is not None:
        console.print(Text(f"  {choice.temporal}"), soft_wrap=True)
        console.print(Text(f"  in the UI, update decide: {choice.update}"), soft_wrap=True)


add_decisions(app)
