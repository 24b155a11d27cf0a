"""Reading a pain.002 status report back, as the employer's software would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lxml import etree


class Status(NamedTuple):
    """What the report says of one payment; ``reason`` is an ISO code."""

    status: str
    reason: str | None


def read_report(path: Path) -> Mapping[str, Status]:
    """The status of each payment, by its end-to-end id."""
    statuses = {}
    payments = etree.iterparse(
        str(path), tag="{*}TxInfAndSts", resolve_entities=False, no_network=True
    )
    for _, payment in payments:
        end_to_end_id = payment.findtext("{*}OrgnlEndToEndId") or ""
        statuses[end_to_end_id] = Status(
            payment.findtext("{*}TxSts") or "", payment.findtext("{*}StsRsnInf/{*}Rsn/{*}Cd")
        )
        payment.clear()
    return statuses
