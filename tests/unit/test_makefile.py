"""The Makefile, the CI script and the lock file fit together."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
LOCK = (ROOT / "requirements.lock").read_text()
TARGETS = set(re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.MULTILINE))


def make(*arguments: str) -> str:
    run = subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return run.stdout


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_help_lists_every_target() -> None:
    """`make` alone explains every target there is."""
    assert TARGETS == set(re.findall(r"^  make (\S+) +\S", make(), re.MULTILINE))


def test_ci_runs_the_targets_in_order() -> None:
    """CI runs the suite as a developer does, then the checks, then a short benchmark."""
    script = (ROOT / ".ci/run").read_text()
    loop = re.search(r"^for target in (.*); do$", script, re.MULTILINE)
    commands = re.findall(r"^ *make (\S+)$", script, re.MULTILINE)

    assert ["venv", "test", '"$target"', "bench-quick"] == commands
    assert loop is not None
    assert ["lint", "types", "imports", "tidy"] == loop[1].split()


@pytest.mark.parametrize(("keep", "expected"), [("", False), ("0", False), ("1", True)])
def test_keep_is_handed_to_the_demo(keep: str, expected: bool) -> None:
    """KEEP=1 leaves the demo's system running; empty and 0 do not."""
    commands = make("--dry-run", "--assume-old=requirements.lock", "demo", f"KEEP={keep}")

    assert expected == ("demo --keep" in commands)


def test_the_lock_file_holds_every_dependency() -> None:
    """What pyproject.toml asks for is pinned, directly and in every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(item for extra in extras for item in extra)]
    names = {normalized(re.split(r"[\[<>=!~; ]", item)[0]) for item in wanted}
    pinned = {normalized(name) for name in re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE)}

    assert set() == names - pinned


def test_the_lock_file_holds_versions_and_hashes_only() -> None:
    """Every package has an exact version and hashes; no index and no machine is named."""
    entries = re.split(r"\n(?=[A-Za-z])", LOCK)
    packages = [entry for entry in entries if not entry.startswith("#")]
    flags = re.MULTILINE

    assert len(packages) > 20
    assert [entry for entry in packages if not re.match(r"[\w.-]+(\[\w+\])?==\S+ ", entry)] == []
    assert [entry for entry in packages if "--hash=sha256:" not in entry] == []
    assert re.findall(r"https?:|file:|^-|--(?:extra-)?index|--find-links", LOCK, flags) == []
