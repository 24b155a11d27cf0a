"""Payment files of ISO 20022: orders in (pain.001), status reports out (pain.002).

Nothing here knows a database, HTTP or a shard. What reads or writes a file blocks: call it in
a thread.
"""
