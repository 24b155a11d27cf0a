"""The options of the test suite itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.support.options import PostgresChoice, postgres_choice

ROOT = Path(__file__).parents[2]
A_TEST_OF_EACH_KIND = """
import pytest
from hypothesis import given, settings, strategies

@pytest.mark.full
def test_of_the_full_matrix(): ...

def test_random(seed, rng):
    print("drawn:", seed, rng.random())

@settings(max_examples=5, database=None)
@given(strategies.binary(min_size=8, max_size=8))
def test_property(value):
    print("drawn:", "example", value)
"""


@pytest.fixture(scope="module")
def small_suite(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs pytest over a small suite that uses the real conftest; gives its output."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "conftest.py").write_text("from tests.conftest import *\n")
    (folder / "test_small.py").write_text(A_TEST_OF_EACH_KIND)
    config = [f"--rootdir={ROOT}", f"--config-file={ROOT / 'pyproject.toml'}"]
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", *config, str(folder)]

    @cache
    def run(*arguments: str) -> str:
        run = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=ROOT)
        return run.stdout + run.stderr

    return run


def drawn(output: str) -> list[str]:
    return [line.partition("drawn:")[2] for line in output.splitlines() if "drawn:" in line]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], PostgresChoice("embedded")),
        (["embedded"], PostgresChoice("embedded")),
        (["testcontainers"], PostgresChoice("testcontainers")),
        (["host=a", "postgresql://b"], PostgresChoice("given", ("host=a", "postgresql://b"))),
    ],
)
def test_postgres_is_chosen_by_name_or_by_dsn(values: list[str], expected: PostgresChoice) -> None:
    """--postgres takes embedded, testcontainers or DSNs, and embedded is the default."""
    assert expected == postgres_choice(values)


@pytest.mark.parametrize("values", [["oracle"], ["embedded", "host=a"], ["embedded"] * 2])
def test_a_contradictory_choice_is_refused(values: list[str]) -> None:
    """A choice that names no server, or two kinds, is an error and not a default."""
    with pytest.raises(ValueError, match="one DSN for each server"):
        postgres_choice(values)


def test_one_seed_repeats_a_run(small_suite: Callable[..., str]) -> None:
    """The same --seed gives the same random numbers and the same Hypothesis examples."""
    first = small_suite("--seed=7")

    assert 'seed: 7 (repeat: make test ARGS="--seed=7")' in first
    assert len([line for line in drawn(first) if "example" in line]) > 1
    assert drawn(first) == drawn(small_suite("--seed=7", "--full"))
    assert drawn(first) != drawn(small_suite("--seed=8"))


def test_the_full_matrix_runs_only_when_asked_for(small_suite: Callable[..., str]) -> None:
    """Tests marked full are left out, and counted as such, without --full."""
    assert "2 passed, 1 deselected" in small_suite("--seed=7")
    assert "3 passed" in small_suite("--seed=7", "--full")
