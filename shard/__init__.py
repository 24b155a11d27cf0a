"""One shard's ledger: local ACID double-entry on one PostgreSQL server.

Nothing in this package knows that other shards, HTTP or Temporal exist. Start reading at
``shard.py`` (the front door), then ``posting.py`` and ``sql/functions/posting.sql``.
"""
