"""``ledger sagas retry``, ``return``, ``redirect`` and ``wait``: what persons decide on items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from rich.console import Console

from router.cli.options import AsJson, Folder
from router.cli.runner import run
from router.cli.terminal import Terminal

if TYPE_CHECKING:
    from sagas.repair_messages import DecisionReport

Item = Annotated[
    str,
    typer.Argument(metavar="ITEM", help="The item's id, as ledger sagas list shows it."),
]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the decision.")]
Maker = Annotated[str, typer.Option(metavar="PERSON", help="Who decides.")]
Checker = Annotated[str, typer.Option(metavar="PERSON", help="Who has checked it; another person.")]
Attempt = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="The attempt you have seen; in any other nothing is done. Else the present one.",
    ),
]
Words: TypeAlias = dict[str, str | int]
"""A decision in the words of the update."""

_SAYS = {
    "retry": "It is delivered again",
    "return": "It goes back to its debtor",
    "redirect": "It goes to the other account",
    "wait": "It is left alone until then",
}


def add_decisions(app: typer.Typer) -> None:
    """Put the commands on ``ledger sagas``."""
    app.command("retry")(retry)
    app.command("return")(give_back)
    app.command("redirect")(redirect)
    app.command("wait")(wait)


def retry(
    ctx: typer.Context,
    item: Item,
    reason: Reason,
    maker: Maker,
    checker: Checker,
    attempt: Attempt = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Deliver an item again now, to the account it goes to."""
    told = _told("retry", reason, maker, checker, attempt)
    _decide(ctx, item, told, folder, as_json=as_json)


def give_back(
    ctx: typer.Context,
    item: Item,
    reason: Reason,
    maker: Maker,
    checker: Checker,
    attempt: Attempt = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Give an item's amount back to its debtor, once it is sure that nobody else gets it."""
    told = _told("return", reason, maker, checker, attempt)
    _decide(ctx, item, told, folder, as_json=as_json)


def redirect(
    ctx: typer.Context,
    item: Item,
    account: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="Who gets it; an account of its currency.")
    ],
    reason: Reason,
    maker: Maker,
    checker: Checker,
    attempt: Attempt = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Deliver an item's amount to another account, once it is sure that nobody else gets it."""
    told = {**_told("redirect", reason, maker, checker, attempt), "account": account}
    _decide(ctx, item, told, folder, as_json=as_json)


def wait(
    ctx: typer.Context,
    item: Item,
    until: Annotated[
        str, typer.Argument(metavar="TIME", help="Until when, like 2026-11-28T09:00:00Z.")
    ],
    reason: Reason,
    maker: Maker,
    checker: Checker,
    attempt: Attempt = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Leave an item alone until a certain time, and deliver it again then."""
    told = {**_told("wait", reason, maker, checker, attempt), "until": until}
    _decide(ctx, item, told, folder, as_json=as_json)


def _told(choice: str, reason: str, maker: str, checker: str, attempt: int | None) -> Words:
    seen: Words = {} if attempt is None else {"attempt": attempt}
    return {"choice": choice, **seen, "reason": reason, "maker": maker, "checker": checker}


def _decide(ctx: typer.Context, item: str, told: Words, folder: Folder, *, as_json: bool) -> None:
    async def work(terminal: Terminal) -> None:
        from router.cli.arguments import read_item, read_wish
        from router.cli.bank_session import open_bank

        item_id = read_item(item)
        words = read_wish(told)
        async with open_bank(folder) as bank:
            with terminal.steps.step("Carrying out the decision"):
                report = await bank.repairs.decide(item_id, words)
        _answer(terminal, item, report)

    run(ctx, work, as_json=as_json)


def _answer(terminal: Terminal, item: str, report: DecisionReport) -> None:
    document = {
        "item": item,
        "carried_out": report.carried_out,
        "state": report.state,
        "attempt": report.attempt,
    }

    def show(console: Console) -> None:
        console.print(f"{_SAYS[report.carried_out]} (attempt {report.attempt}, {report.state}).")
        console.print(f"See what becomes of it: ledger sagas show {item}")

    terminal.answer(document, show)
