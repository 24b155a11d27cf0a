"""References name a command for ever; the request hash tells a repetition from a reuse."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from shard.errors import ReferenceMalformed

_REFERENCE = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_HASH_BYTES = 16


def parse_reference(text: str) -> str:
    """Check a client's reference; raises ``ReferenceMalformed``."""
    if not _REFERENCE.fullmatch(text):
        raise ReferenceMalformed
    return text


def derived_reference(prefix: str, name: str) -> str:
    """A reference for what is named by more than fits: the same name gives the same one."""
    digest = hashlib.blake2b(name.encode(), digest_size=_HASH_BYTES).hexdigest()
    return f"{prefix}:{digest}"


def request_hash(form: str, fields: Mapping[str, str | None]) -> bytes:
    """Hash a canonical request: ``form`` is its name and version, absent fields are left out.

    The hash covers what the client asked, never how it was routed, so a retry through
    another router or after a range move is still the same request.
    """
    parts = [form]
    for name in sorted(fields):
        value = fields[name]
        if value is not None:
            size = len(value) if value.isascii() else len(value.encode())
            parts.append(f"\n{name}={size}:{value}")
    return hashlib.blake2b("".join(parts).encode(), digest_size=_HASH_BYTES).digest()
