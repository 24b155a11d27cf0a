"""What ``ledger accounts change`` is asked for, in words."""

from __future__ import annotations

from collections.abc import Sequence

from router.cli.arguments import read_pairs, read_plain_amount
from shard.accounts import AccountChange, AccountStatus
from shard.errors import Malformed

_FREEZES = ("everything", "debits")


def read_change(
    *,
    status: str | None,
    frozen_for: str | None,
    overdraft_limit: str | None,
    minimum_balance: str | None,
    metadata: Sequence[str] | None,
) -> AccountChange:
    """The change; frozen means for everything, unless it says otherwise. Raises ``Malformed``."""
    words = (status, frozen_for, overdraft_limit, minimum_balance, metadata)
    if all(word is None for word in words):
        raise Malformed("Nothing is to change; see --help.")
    is_freeze = status == AccountStatus.FROZEN
    if frozen_for is not None and (not is_freeze or frozen_for not in _FREEZES):
        raise Malformed("--frozen-for is everything or debits, and goes with --status frozen.")
    if status is not None and status not in list(AccountStatus):
        raise Malformed(f"{status!r} is no status; there are: {', '.join(AccountStatus)}.")
    if overdraft_limit == "none":
        raise Malformed("Whether an account has a floor at all is decided when it is opened.")
    return AccountChange(
        status=None if status is None else AccountStatus(status),
        credits_when_frozen=frozen_for == "debits" if is_freeze else None,
        overdraft_limit=None if overdraft_limit is None else read_plain_amount(overdraft_limit),
        minimum_balance=None if minimum_balance is None else read_plain_amount(minimum_balance),
        metadata=None if metadata is None else read_pairs(metadata),
    )
