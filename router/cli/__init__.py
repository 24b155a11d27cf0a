"""The command line ``ledger``; the only part of this system that starts servers.

Every command says in its help what it does; ``exit_codes.py`` has the one table of exit codes.
Commands import what they need when they run, so that ``--help`` is instant and only ``up``,
``down``, ``status`` and ``demo`` need the optional packages of the embedded servers.
"""

from __future__ import annotations


def main() -> None:
    """Run the command that the arguments name; never returns."""
    from router.cli.app import build

    build()()
