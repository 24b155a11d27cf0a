"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OPENABLE_KINDS = ("customer", "internal", "asset", "liability", "income", "expense", "equity")
"""Suspense and clearing belong to the machinery."""

AsJson = Annotated[bool, typer.Option("--json", help="Write the result to stdout as JSON.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="FOLDER",
        help="Data folder of a bank on this machine. Default: the servers that the LEDGER_* "
        "settings name, else the bank in LEDGER_DATA or this user's data folder.",
    ),
]
StackFolder = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="FOLDER",
        help="Data folder of the bank. Default: LEDGER_DATA, else this user's data folder.",
    ),
]
