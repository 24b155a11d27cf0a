"""Field types of the wire: strings that become account numbers, money, references and dates.

Each check is the domain's own (``shard/``); only its error is turned into pydantic's, so that
one request is told all its wrong fields at once. Numbers never stand for money: a JSON number
may have passed through a binary float before it came here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from router.limits import (
    CUSTOMER_CHARS_MAX,
    METADATA_KEY_CHARS_MAX,
    METADATA_KEYS_MAX,
    METADATA_VALUE_CHARS_MAX,
    NAME_CHARS_MAX,
    NARRATIVE_CHARS_MAX,
    REASON_CHARS_MAX,
)
from router.past_times import PastTimeMalformed, parse_past_time
from shard.account_numbers import parse_account_no
from shard.errors import AccountNoMalformed, AmountMalformed, Malformed, ReferenceMalformed
from shard.money import (
    CURRENCIES,
    currency_of,
    parse_amount,
    parse_plain_limit,
    parse_signed_limit,
)
from shard.references import parse_reference

Value = TypeVar("Value")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PRINTABLE = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_COUNT = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_ABSENT = Decimal(0)


class _DateMalformed(Malformed):
    """A date is written YYYY-MM-DD."""


class _InstantMalformed(Malformed):
    """A time is written as in RFC 3339 with its zone, such as 2026-11-28T09:30:00Z."""


class _CountMalformed(Malformed):
    """A number of things is written with digits only, without a leading zero."""


class _CurrencyMalformed(Malformed):
    """A currency is an ISO 4217 code of three capital letters that this ledger keeps."""


def _in_pydantic(error: Malformed) -> PydanticCustomError:
    return PydanticCustomError("malformed", "{detail}", {"detail": error.detail})


def _read_text(
    read: Callable[[str], Value], otherwise: type[Malformed]
) -> Callable[[object], Value]:
    """A validator that takes strings only and tells what is wrong in the domain's words."""

    def validate(value: object) -> Value:
        try:
            if not isinstance(value, str):
                raise otherwise
            return read(value)
        except Malformed as error:
            raise _in_pydantic(error) from None

    return validate


def _read_money(read: Callable[[str, str], Decimal]) -> Callable[[object, ValidationInfo], Decimal]:
    """The same for money, whose decimals depend on the field ``currency`` declared before it."""

    def validate(value: object, info: ValidationInfo) -> Decimal:
        currency = info.data.get("currency")
        try:
            if not isinstance(value, str):
                raise AmountMalformed
            # Without a valid currency the request fails for that reason.
            return read(value, currency) if currency is not None else _ABSENT
        except Malformed as error:
            raise _in_pydantic(error) from None

    return validate


def _parse_date(text: str) -> date:
    if not _DATE.fullmatch(text):
        raise _DateMalformed
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _DateMalformed from None


def _parse_instant(text: str) -> datetime:
    if not _INSTANT.fullmatch(text):
        raise _InstantMalformed
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _InstantMalformed from None


def _parse_count(text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise _CountMalformed
    return int(text)


def _parse_plain_amount(text: str) -> Decimal:
    amount = parse_plain_limit(text)
    if not amount:
        raise AmountMalformed
    return amount


def _parse_signed_amount(text: str) -> Decimal:
    amount = _parse_plain_amount(text.removeprefix("-"))
    return -amount if text.startswith("-") else amount


def _money_schema(example: str, description: str | None = None, *, sign: str = "") -> Any:
    """What the OpenAPI document says of an amount; ``sign`` is a pattern before its digits."""
    schema = {"type": "string", "pattern": rf"^{sign}(0|[1-9][0-9]{{0,13}})(\.[0-9]{{1,4}})?$"}
    if description is not None:
        schema["description"] = description
    return WithJsonSchema({**schema, "examples": [example]})


def _parse_currency(text: str) -> str:
    if text not in CURRENCIES:
        raise _CurrencyMalformed
    return currency_of(text).code


def _without_control_characters(text: str) -> str:
    if _CONTROL.search(text):
        raise PydanticCustomError("malformed", "Control characters are not allowed in a text.")
    return text


AccountNo = Annotated[
    int,
    PlainValidator(_read_text(parse_account_no, AccountNoMalformed), json_schema_input_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,17}$", "examples": ["2000000123"]}),
]
Reference = Annotated[
    str,
    PlainValidator(_read_text(parse_reference, ReferenceMalformed), json_schema_input_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$", "examples": ["PAY-17"]}
    ),
]
Currency = Annotated[
    str,
    PlainValidator(_read_text(_parse_currency, _CurrencyMalformed), json_schema_input_type=str),
    WithJsonSchema({"type": "string", "enum": sorted(CURRENCIES), "examples": ["EUR"]}),
]
Amount = Annotated[
    Decimal,
    PlainValidator(_read_money(parse_amount), json_schema_input_type=str),
    _money_schema("20.00", "More than zero, with at most the decimals of its currency."),
]
SignedAmount = Annotated[
    Decimal,
    PlainValidator(_read_text(_parse_signed_amount, AmountMalformed), json_schema_input_type=str),
    _money_schema(
        "-20.00", "Credit +, debit -; never zero, with at most the currency's decimals.", sign="-?"
    ),
]
PlainAmount = Annotated[
    Decimal,
    PlainValidator(_read_text(_parse_plain_amount, AmountMalformed), json_schema_input_type=str),
    _money_schema("5.00", "More than zero, with at most the decimals of the account's currency."),
]
Limit = Annotated[
    Decimal,
    PlainValidator(_read_money(parse_signed_limit), json_schema_input_type=str),
    _money_schema("0.00"),
]
PlainLimit = Annotated[
    Decimal,
    PlainValidator(_read_text(parse_plain_limit, AmountMalformed), json_schema_input_type=str),
    _money_schema("50.00", "Zero or more, with at most the decimals of the account's currency."),
]
Count = Annotated[int, BeforeValidator(_read_text(_parse_count, _CountMalformed))]
"""A whole number in a query; what pydantic would take besides digits is no number there."""
IsoDate = Annotated[
    date,
    PlainValidator(_read_text(_parse_date, _DateMalformed), json_schema_input_type=str),
    WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-11-21"]}),
]
Instant = Annotated[
    datetime,
    PlainValidator(_read_text(_parse_instant, _InstantMalformed), json_schema_input_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-28T09:30:00Z"]}),
]
PastTime = Annotated[
    datetime | date,
    PlainValidator(_read_text(parse_past_time, PastTimeMalformed), json_schema_input_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "anyOf": [{"format": "date-time"}, {"format": "date"}],
            "examples": ["2026-11-21T09:30:00Z", "2026-11-21"],
        }
    ),
]


def _text(chars_max: int, example: str, description: str | None = None) -> Any:
    return Field(
        min_length=1,
        max_length=chars_max,
        examples=[example],
        description=description,
        json_schema_extra={"pattern": _PRINTABLE},
    )


_Printable = AfterValidator(_without_control_characters)
Narrative = Annotated[str, _text(NARRATIVE_CHARS_MAX, "Rent"), _Printable]
PartyName = Annotated[str, _text(NAME_CHARS_MAX, "Ada Lovelace"), _Printable]
Reason = Annotated[str, _text(REASON_CHARS_MAX, "Card reported stolen"), _Printable]
Customer = Annotated[
    str,
    _text(CUSTOMER_CHARS_MAX, "C-000123", "The customer's number; it decides on the shard."),
    _Printable,
]
MetadataKey = Annotated[str, _text(METADATA_KEY_CHARS_MAX, "crm_id"), _Printable]
MetadataValue = Annotated[str, Field(max_length=METADATA_VALUE_CHARS_MAX), _Printable]
Metadata = Annotated[
    dict[MetadataKey, MetadataValue],
    Field(
        max_length=METADATA_KEYS_MAX,
        examples=[{"crm_id": "0042"}],
        description="The channel's own notes; they mean nothing to the ledger.",
    ),
]
