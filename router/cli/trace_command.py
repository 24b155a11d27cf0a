"""``ledger trace``: one transfer's whole story on one screen."""

from __future__ import annotations

from typing import Annotated

import typer

from router.cli.exit_codes import ExitCode
from router.cli.options import AsJson, Folder
from router.cli.runner import run
from router.cli.terminal import Terminal


def trace(
    ctx: typer.Context,
    account: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="The account that the reference belongs to.")
    ],
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="Of the transfer.")],
    origin: Annotated[
        str, typer.Option(help="Who gave the reference: client, payroll or reversal.")
    ] = "client",
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Tell a transfer's whole story, from both its shards and from Temporal.

    The command, its entries on each side, suspense and clearing, attempts and decisions, the
    workflows, and what a customer, the ledger and reconciliation see at this moment. Exit code
    3: a shard did not answer, and what it could have told is named. Temporal may be down.
    """

    async def work(terminal: Terminal) -> ExitCode:
        from router.cli.bank_session import open_bank
        from router.cli.saga_filters import read_transfer
        from router.cli.trace_screen import show_story
        from router.saga_trace_document import story_document

        name = read_transfer(account, reference, origin)
        async with open_bank(folder) as bank:
            story = await bank.traces.tell(name)
        terminal.answer(story_document(story), lambda console: show_story(console, story))
        for gap in story.gaps:
            terminal.note(f"Not read: {gap.what}. {gap.reason}")
        return ExitCode.UNAVAILABLE if story.gaps else ExitCode.DONE

    run(ctx, work, as_json=as_json)
