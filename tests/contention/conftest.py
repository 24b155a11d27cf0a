"""What the tests of forced interleavings share."""

from __future__ import annotations

from tests.shard.own_server import own, own_database, own_server

__all__ = ["own", "own_database", "own_server"]
