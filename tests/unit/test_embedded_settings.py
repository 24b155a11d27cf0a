"""What the embedded servers are told, and what their addresses give away."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from deploy import errors
from deploy.embedded.endpoints import Endpoints
from deploy.embedded.folders import socket_folder
from deploy.embedded.passwords import PasswordFile
from deploy.embedded.postgres import PostgresServer
from deploy.embedded.server_settings import postgres_settings
from deploy.errors import DeployError

SHORT = Path("/srv/ledger/shard-1/run")
SOCKET = ".s.PGSQL.5432"


def settings(*, tcp: bool = False) -> dict[str, str]:
    text = postgres_settings(sockets=SHORT, port=5432, tcp=tcp)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: value.strip("'") for name, value in (line.split(" = ") for line in lines)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("wal_level", "logical"),
        ("track_commit_timestamp", "on"),
        ("max_connections", "120"),
        ("shared_buffers", "256MB"),
        ("max_wal_size", "2GB"),
        ("checkpoint_timeout", "10min"),
        ("autovacuum", "on"),
        ("timezone", "UTC"),
        ("password_encryption", "scram-sha-256"),
        ("log_parameter_max_length_on_error", "0"),
    ],
)
def test_a_server_runs_with_the_settings_the_ledger_relies_on(name: str, value: str) -> None:
    """Durability, replication, time zone and secrecy do not depend on PostgreSQL's defaults."""
    assert value == settings()[name]


@pytest.mark.parametrize(("tcp", "addresses"), [(False, ""), (True, "127.0.0.1")])
def test_a_server_listens_on_loopback_at_most(tcp: bool, addresses: str) -> None:
    """Without TCP a server listens on no address, with TCP on the loopback one only."""
    assert addresses == settings(tcp=tcp)["listen_addresses"]


def test_sockets_stay_in_their_folder_when_the_path_fits() -> None:
    """A short and plain path is used as it is."""
    assert socket_folder(SHORT, SOCKET) == SHORT


@pytest.mark.parametrize(
    "folder",
    [
        Path("/srv") / ("deep" * 24) / "run",
        Path("/srv/my ledger/run"),
        Path("/srv/a,b/run"),
        Path("/srv/o'hara/run"),
    ],
)
def test_sockets_move_when_their_path_would_not_work(folder: Path) -> None:
    """A path too long for a socket, or with a separator of libpq or PostgreSQL, is replaced."""
    chosen = str(socket_folder(folder, SOCKET) / SOCKET)

    assert (True, False) == (len(chosen) <= 103, any(sign in chosen for sign in " ,'"))


def test_moved_sockets_of_two_folders_do_not_meet() -> None:
    """Each folder that cannot hold its sockets gets a replacement of its own, always the same."""
    first, second = Path("/srv/bank one/run"), Path("/srv/bank two/run")

    chosen = [socket_folder(folder, SOCKET) for folder in (first, second, first)]

    assert [True, False] == [chosen[0] == chosen[2], chosen[0] == chosen[1]]


@pytest.mark.parametrize("tcp_port", [None, 20_001])
def test_a_dsn_names_a_password_file_and_holds_no_password(tcp_port: int | None) -> None:
    """Connection strings may be shown: they say where the password is, not what it is."""
    passwords = PasswordFile(Path("/srv/ledger/secrets/pgpass"))
    server = PostgresServer(
        "shard-1", Path("/srv/ledger/shard-1"), tcp_port=tcp_port, passwords=passwords
    )
    host = "host=/srv/ledger/shard-1/run port=5432"
    if tcp_port:
        host = f"host=127.0.0.1 port={tcp_port}"

    expected = f"{host} user=ledger_posting dbname=ledger passfile=/srv/ledger/secrets/pgpass"

    assert expected == server.posting_dsn


def test_the_environment_names_every_server() -> None:
    """The settings of a process hold a DSN per shard as JSON, by shard number."""
    endpoints = Endpoints(
        shard_dsns={2: "p2", 1: "p1"},
        shard_owner_dsns={1: "o1", 2: "o2"},
        directory_dsn="pd",
        directory_owner_dsn="od",
        temporal_address="127.0.0.1:1",
        temporal_namespace="default",
        temporal_ui_url="http://127.0.0.1:2",
    )

    expected = {
        "LEDGER_SHARD_DSNS": json.dumps({"1": "p1", "2": "p2"}),
        "LEDGER_SHARD_OWNER_DSNS": json.dumps({"1": "o1", "2": "o2"}),
        "LEDGER_DIRECTORY_DSN": "pd",
        "LEDGER_DIRECTORY_OWNER_DSN": "od",
        "LEDGER_TEMPORAL_ADDRESS": "127.0.0.1:1",
        "LEDGER_TEMPORAL_NAMESPACE": "default",
        "LEDGER_TEMPORAL_UI_URL": "http://127.0.0.1:2",
    }

    assert expected == endpoints.environment()


def every_error() -> list[type[DeployError]]:
    members = [member for _, member in inspect.getmembers(errors, inspect.isclass)]
    return [member for member in members if issubclass(member, DeployError)]


def test_each_error_has_a_code_of_its_own() -> None:
    """No two errors of this package share a code."""
    codes = [error.code for error in every_error()]

    assert sorted(set(codes)) == sorted(codes)


def test_the_tree_at_the_top_of_the_errors_is_complete() -> None:
    """The drawing at the top of errors.py names every error of the package."""
    drawing = inspect.getdoc(errors) or ""
    drawn = {line.lstrip("│├└─ ") for line in drawing.splitlines()[2:]}

    assert {error.__name__ for error in every_error()} == drawn
