"""Identifiers are UUIDv7: unique without a sequence, and sorted by time of birth."""

from __future__ import annotations

from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    """A fresh UUIDv7."""
    return uuid_utils.compat.uuid7()
