"""The configuration file of an embedded PostgreSQL server."""

from pathlib import Path

from deploy.embedded.ports import LOOPBACK

_DURABILITY = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_wal_size": "2GB",
    # Files of the log are used again: making a new one stops every commit for some 50 ms.
    "min_wal_size": "1GB",
    "checkpoint_timeout": "10min",
    # Ranges are moved to another shard by logical replication.
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "track_commit_timestamp": "on",
}
_RESOURCES = {
    "max_connections": "120",
    "shared_buffers": "256MB",
    # Balance rows are updated all the time: their dead versions are to go before they spread. The
    # large tables are looked at no sooner than usual, as each time all of their indexes are read.
    "autovacuum": "on",
    "autovacuum_naptime": "15s",
}
_BEHAVIOUR = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "datestyle": "ISO, YMD",
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    "logging_collector": "off",
    # Values of parameters are customers' data and have no place in a log.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


def postgres_settings(*, sockets: Path, port: int, tcp: bool) -> str:
    """The text of `postgresql.conf` for one server."""
    connection = {
        "listen_addresses": LOOPBACK if tcp else "",
        "port": str(port),
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
    }
    settings = connection | _DURABILITY | _RESOURCES | _BEHAVIOUR
    lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    return "# Written at every start; changes made here are lost.\n" + "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
