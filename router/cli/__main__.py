"""``python -m router.cli``: the same as ``ledger``, for processes that start each other."""

from __future__ import annotations

from router.cli import main

main()
