"""Settings: where they come from, what is refused, and that secrets stay secret."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from router.errors import SettingsInvalid
from router.settings import Settings

PASSWORD = "hunter2-very-secret"
DSN = f"postgresql://ledger_posting:{PASSWORD}@db1:5432/ledger"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing but the two settings that have no default."""
    for name in list(os.environ):
        if name.startswith("LEDGER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LEDGER_SHARD_DSNS", json.dumps({"1": DSN, "2": "host=/run/db2"}))
    monkeypatch.setenv("LEDGER_DIRECTORY_DSN", "host=/run/directory")
    return monkeypatch


def test_shards_are_read_from_a_json_object_by_number() -> None:
    """Environment variables hold text, shards have numbers."""
    dsns = {no: dsn.get_secret_value() for no, dsn in Settings.load().shard_dsns.items()}
    assert dsns == {1: DSN, 2: "host=/run/db2"}


def test_the_defaults_serve_on_loopback_and_run_the_worker() -> None:
    """Safe by default, and whole by default."""
    settings = Settings.load()
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert settings.run_worker is True
    assert settings.control_points == ""


def test_a_password_shows_in_no_representation() -> None:
    """Neither repr, nor str, nor JSON of the settings tells a password."""
    settings = Settings.load()
    shown = repr(settings) + str(settings) + settings.model_dump_json()
    assert PASSWORD not in shown


@pytest.mark.parametrize(
    "value",
    [
        f'{{"1": "postgresql://u:{PASSWORD}@',
        json.dumps({"1": f"not a dsn {PASSWORD}"}),
        json.dumps({"0": DSN}),
        json.dumps({"ten": DSN}),
        json.dumps([DSN]),
        json.dumps({}),
    ],
)
def test_unusable_dsns_are_refused_without_telling_them(
    environment: pytest.MonkeyPatch, value: str
) -> None:
    """The error names the setting, not its value, down to the last cause."""
    environment.setenv("LEDGER_SHARD_DSNS", value)
    with pytest.raises(SettingsInvalid) as refused:
        Settings.load()
    assert "shard_dsns" in str(refused.value).lower()
    assert PASSWORD not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_settings_class_itself_tells_no_value_either(environment: pytest.MonkeyPatch) -> None:
    """Who does not go through ``load`` gets pydantic's error, which must not quote its input."""
    environment.setenv("LEDGER_HTTP_HOST", PASSWORD)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert PASSWORD not in str(refused.value)


def test_a_missing_setting_is_named_as_its_variable(environment: pytest.MonkeyPatch) -> None:
    """The reader of the error knows what to set."""
    environment.delenv("LEDGER_DIRECTORY_DSN")
    with pytest.raises(SettingsInvalid, match="LEDGER_DIRECTORY_DSN"):
        Settings.load()


@pytest.mark.parametrize("host", ["::", "192.0.2.1", "198.51.100.7", "bank.example"])
def test_a_remote_host_is_refused_unless_allowed(
    environment: pytest.MonkeyPatch, host: str
) -> None:
    """There is no access control yet, so listening beyond this machine is a decision."""
    environment.setenv("LEDGER_HTTP_HOST", host)
    with pytest.raises(SettingsInvalid, match="loopback"):
        Settings.load()
    environment.setenv("LEDGER_HTTP_ALLOW_REMOTE", "true")
    assert Settings.load().http_host == host


@pytest.mark.parametrize("host", ["localhost", "127.0.0.7", "::1"])
def test_every_loopback_host_is_allowed(environment: pytest.MonkeyPatch, host: str) -> None:
    """Loopback is more than one address."""
    environment.setenv("LEDGER_HTTP_HOST", host)
    assert Settings.load().http_host == host


def test_secrets_may_come_from_files(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container's secrets are files, which neither ``ps`` nor the environment show."""
    environment.delenv("LEDGER_SHARD_DSNS")
    environment.setenv("LEDGER_SECRETS_DIR", str(tmp_path))
    (tmp_path / "ledger_shard_dsns").write_text(json.dumps({"3": DSN}))
    assert Settings.load().shard_dsns[3].get_secret_value() == DSN


def test_a_missing_secrets_folder_is_an_error(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else a mistyped folder would look like missing settings."""
    environment.setenv("LEDGER_SECRETS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(SettingsInvalid, match="nowhere"):
        Settings.load()
