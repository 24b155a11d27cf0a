"""Messages of ISO 20022: orders in (pain.001), status reports (pain.002), statements (camt.053).

Nothing here knows a database, HTTP or a shard. What reads or writes a file blocks: call it in
a thread.
"""
