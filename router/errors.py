"""The router's leaves of the error tree in ``shard/errors.py``.

    Refused
    |- RefusalReplayed        the same request was refused before
    |- AccountNoTaken         |- AccountOutsideRanges   |- AccountOffHome
    |- ReferenceReused        |- PaymentFileKnown       |- BusinessDateRefused
    |- NotOneShard            |- DecisionRefused
    NotFound
    |- AccountUnassigned      no range holds the number
    Unavailable
    |- DirectoryUnavailable   |- RangeFull              |- RoutesUnknown
    |- TemporalUnavailable
    |- InTransit              a part cannot be taken back while the whole is on its way
    |- Overloaded
    |  |- SuspenseFull        so much money waits between shards that no more may leave this one
    Misconfigured
    |- SettingsInvalid

A named refusal tells its own code as its outcome, like those of ``outcomes.py``.
"""

from __future__ import annotations

from shard.errors import Misconfigured, NotFound, Overloaded, Refused, Unavailable
from shard.outcomes import MEANINGS, Outcome


def refusal(outcome: Outcome, *, is_replay: bool = False) -> Refused:
    """The error that tells a business refusal in words."""
    kind = RefusalReplayed if is_replay else Refused
    return kind(outcome.value, MEANINGS[outcome].sentence)


class RefusalReplayed(Refused):
    """The same request was refused before, under the same reference."""


class _NamedRefusal(Refused):
    """A refusal whose outcome is its own code."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(self.code, detail or self.__doc__)


class AccountNoTaken(_NamedRefusal):
    """The account number asked for is already given to another account."""

    code = "ACCOUNT_NO_TAKEN"


class AccountOutsideRanges(_NamedRefusal):
    """The account number asked for lies in no range of this bank."""

    code = "ACCOUNT_OUTSIDE_RANGES"


class AccountOffHome(_NamedRefusal):
    """All accounts of one customer share a range; the number asked for lies in another one."""

    code = "ACCOUNT_OFF_HOME"


class ReferenceReused(_NamedRefusal):
    """The reference already names a request with another content."""

    code = "REFERENCE_REUSED"


class PaymentFileKnown(_NamedRefusal):
    """This payment file was submitted and executed before; nothing was booked again."""

    code = "PAYMENT_FILE_KNOWN"


class BusinessDateRefused(_NamedRefusal):
    """The business date moves forward only, to a day on which the bank is open."""

    code = "BUSINESS_DATE_REFUSED"


class NotOneShard(_NamedRefusal):
    """Lines that are to be booked as one unit must all belong to one shard."""

    code = "NOT_ONE_SHARD"

    def __init__(self, place: int = 0) -> None:
        super().__init__()
        self.place = place
        """Of the request that belongs to another shard than the first one; counted from 0."""


class DecisionRefused(_NamedRefusal):
    """A decision on an item cannot be carried out; nothing was changed."""

    code = "DECISION_REFUSED"


class TemporalUnavailable(Unavailable):
    """Temporal does not answer, or no worker is running."""

    code = "TEMPORAL_UNAVAILABLE"


class InTransit(Unavailable):
    """The money is on its way; a part, or what a person has in hand, is to be had on arrival."""

    code = "IN_TRANSIT"


class SuspenseFull(Overloaded):
    """Too much money of this shard waits to be delivered to others; this request did nothing."""

    code = "SUSPENSE_FULL"


class AccountUnassigned(NotFound):
    """The account number lies in no range of this bank."""

    code = "ACCOUNT_UNKNOWN"


class DirectoryUnavailable(Unavailable):
    """The directory does not answer; nothing happened there."""

    code = "DIRECTORY_UNAVAILABLE"


class RangeFull(Unavailable):
    """The customer's range has no free account number left."""

    code = "RANGE_FULL"
    retryable = False


class RoutesUnknown(Unavailable):
    """It is not known which shard owns the account; neither directory nor shards told."""

    code = "ROUTES_UNKNOWN"


class SettingsInvalid(Misconfigured):
    """A setting is missing or not valid."""
