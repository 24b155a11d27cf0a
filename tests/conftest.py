"""The options of a test run, and what every test may ask about it."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, settings

from tests.support.options import PostgresChoice, fresh_seed, postgres_choice

pytest_plugins = ["tests.support.bank", "tests.support.matrix_report"]
CHOICE = pytest.StashKey[PostgresChoice]()
SEED = pytest.StashKey[int]()

# Both would fail a test for the time it took, which says more about the machine than about us.
settings.register_profile("ledger", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ledger")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ledger")
    group.addoption(
        "--postgres",
        action="append",
        default=[],
        metavar="embedded|testcontainers|DSN",
        help="where PostgreSQL comes from (default: embedded); repeat it with one DSN per server",
    )
    group.addoption("--full", action="store_true", help="the long form: full matrices, more rounds")
    group.addoption("--seed", type=int, help="repeat a run's random choices (default: a new seed)")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[CHOICE] = postgres_choice(config.getoption("--postgres"))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    given = config.getoption("--seed")
    # Written back, so that the processes which share the run (pytest-xdist) share its seed.
    config.option.seed = config.stash[SEED] = fresh_seed() if given is None else given
    # Hypothesis reads its seed when it is configured, which is after this hook.
    if getattr(config.option, "hypothesis_seed", None) is None:
        config.option.hypothesis_seed = config.stash[SEED]


def pytest_report_header(config: pytest.Config) -> list[str]:
    form = "full" if config.getoption("--full") else "sample"
    return [
        f"ledger: PostgreSQL {config.stash[CHOICE].kind}, {form}",
        f'seed: {config.stash[SEED]} (repeat: make test ARGS="--seed={config.stash[SEED]}")',
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresChoice:
    """Where this run's PostgreSQL servers come from."""
    return request.config.stash[CHOICE]


@pytest.fixture(scope="session")
def is_full(request: pytest.FixtureRequest) -> bool:
    """Whether the long form was asked for."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The number that all random choices of this run derive from; the header prints it."""
    return request.config.stash[SEED]


@pytest.fixture
def rng(request: pytest.FixtureRequest, seed: int) -> random.Random:
    """Random numbers of one test: the same for one seed, whichever other tests run."""
    return random.Random(f"{seed}:{request.node.nodeid}")
