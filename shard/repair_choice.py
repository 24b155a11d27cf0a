"""What a person can decide on an amount between shards."""

from __future__ import annotations

from enum import StrEnum


class RepairChoice(StrEnum):
    """What is to be done with an open item.

    Deliver it again; give it back to its debtor; deliver it to another account; or leave it until
    a certain time, and deliver it again then.
    """

    RETRY = "retry"
    RETURN = "return"
    REDIRECT = "redirect"
    WAIT = "wait"
