"""The error tree of the whole product; higher layers hang their own leaves below it.

    LedgerError
    |- Malformed              the request itself is wrong; nothing was stored
    |  |- AmountMalformed     |- ReferenceMalformed    |- AccountNoMalformed
    |- Refused                a business refusal; carries its outcome
    |- NotFound               nothing is known under this name
    |- NotOwner               this shard does not serve the account (any more)
    |- RangeMoving            the account's range is fenced while it moves
    |- Unavailable            nothing happened; the same request may be repeated
    |  |- ShardUnavailable    |- Overloaded
    |- OutcomeUnknown         it may have happened; repeat with the same reference
    |- Misconfigured          settings, schema or data folder do not fit this program
    |  |- MigrationChanged    |- SchemaTooNew          |- SchemaMissing

Each class carries ``code`` (one word of the table in ``outcomes.py`` or its own),
``http_status`` and ``retryable``; its docstring is its default message.
"""

from __future__ import annotations

from typing import ClassVar


class LedgerError(Exception):
    """The ledger could not do what was asked."""

    code: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.__doc__)

    @property
    def detail(self) -> str:
        """The sentence a person reads; it never holds a secret."""
        return str(self)


class Malformed(LedgerError):
    """The request is not well formed."""

    code = "MALFORMED"
    http_status = 400

    def __init__(self, detail: str | None = None, *, pointer: str = "") -> None:
        super().__init__(detail)
        self.pointer = pointer


class AmountMalformed(Malformed):
    """An amount is a decimal string such as "1250.00", positive, within the currency's decimals."""


class ReferenceMalformed(Malformed):
    """A reference has 1 to 64 characters of A-Z, a-z, 0-9, dot, underscore, colon and hyphen."""


class AccountNoMalformed(Malformed):
    """An account number is a string of at most 18 digits that does not start with zero."""


class Refused(LedgerError):
    """The ledger refused the request."""

    code = "REFUSED"
    http_status = 422

    def __init__(self, outcome: str, detail: str | None = None) -> None:
        super().__init__(detail or f"The ledger refused the request: {outcome}.")
        self.outcome = outcome


class NotFound(LedgerError):
    """Nothing is known under this name."""

    code = "NOT_FOUND"
    http_status = 404


class NotOwner(LedgerError):
    """This shard does not own the account."""

    code = "NOT_OWNER"
    http_status = 503
    retryable = True

    def __init__(self, account_no: int, next_owner: int | None, epoch: int | None) -> None:
        super().__init__(None)
        self.account_no = account_no
        self.next_owner = next_owner
        self.epoch = epoch


class RangeMoving(LedgerError):
    """The account's range is moving to another shard; try again in a moment."""

    code = "RANGE_MOVING"
    http_status = 503
    retryable = True


class Unavailable(LedgerError):
    """Nothing happened; the same request may be repeated."""

    code = "UNAVAILABLE"
    http_status = 503
    retryable = True


class ShardUnavailable(Unavailable):
    """The shard does not answer; nothing happened there."""

    code = "SHARD_UNAVAILABLE"


class Overloaded(Unavailable):
    """More work waits for this shard than it can take; try again in a moment."""

    code = "OVERLOADED"


class OutcomeUnknown(LedgerError):
    """It is not known whether this happened; repeat it with the same reference."""

    code = "OUTCOME_UNKNOWN"
    http_status = 504
    retryable = True


class Misconfigured(LedgerError):
    """Settings, schema or data folder do not fit this program."""

    code = "MISCONFIGURED"


class MigrationChanged(Misconfigured):
    """A migration that was already applied has another text now."""


class SchemaTooNew(Misconfigured):
    """The database carries migrations that this program does not know."""


class SchemaMissing(Misconfigured):
    """The database has no ledger schema yet; run ``ledger migrate``."""
