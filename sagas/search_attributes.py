"""What Temporal's search knows about workflows that wait for a person.

They are set on repair workflows only: each costs the happy path a write. They are never
encrypted, so they hold no account number and no amount.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

SAGA_STATE: Final = SearchAttributeKey.for_keyword("SagaState")
"""A ``SagaState``."""

SAGA_STEP: Final = SearchAttributeKey.for_keyword("SagaStep")
"""A ``SagaStep``."""

FAILURE_CODE: Final = SearchAttributeKey.for_keyword("FailureCode")
"""The outcome that the last attempt met; unset while there is none."""

SOURCE_SHARD: Final = SearchAttributeKey.for_int("SourceShard")
"""The shard in whose suspense the amount stands."""

DESTINATION_SHARD: Final = SearchAttributeKey.for_int("DestinationShard")
"""The shard that owns the present attempt's target."""

PARKED_AT: Final = SearchAttributeKey.for_datetime("ParkedAt")
"""When the amount left its debtor."""

_TYPES: Final = {
    SAGA_STATE.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    SAGA_STEP.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    FAILURE_CODE.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    SOURCE_SHARD.name: IndexedValueType.INDEXED_VALUE_TYPE_INT,
    DESTINATION_SHARD.name: IndexedValueType.INDEXED_VALUE_TYPE_INT,
    PARKED_AT.name: IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
}


class SagaState(StrEnum):
    """What a repair workflow is doing."""

    STUCK = "stuck"
    WORKING = "working"
    WAITING = "waiting"
    CLOSED = "closed"


class SagaStep(StrEnum):
    """The step at which it is."""

    DECIDE = "decide"
    DELIVER = "deliver"
    DONE = "done"


async def ensure_search_attributes(client: Client, limit_s: float) -> None:
    """Have the namespace know them; raises ``RPCError`` where that cannot be had.

    Unknown ones would stop a repair workflow at its first step.
    """
    request = AddSearchAttributesRequest(search_attributes=_TYPES, namespace=client.namespace)
    try:
        await client.operator_service.add_search_attributes(
            request, timeout=timedelta(seconds=limit_s)
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
