"""A real browser at the Temporal UI of a small bank.

Without Chromium or Playwright these tests are skipped, saying what is missing; with
LEDGER_REQUIRE_BROWSER=1 they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from deploy.embedded.temporal import TemporalServer
from sagas.convoys import Convoys
from sagas.worker import build_worker
from shard.shard import Shard
from tests.sagas.small_bank import SmallBank, connected_bank
from tests.support.databases import Databases

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.support.temporal_ui import TemporalUi

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# Wide enough for the UI to show menus as on a desk, not as on a telephone.
_WIDTH, _HEIGHT = 1600, 1200


def _missing(what: str) -> NoReturn:
    if os.environ.get("LEDGER_REQUIRE_BROWSER") == "1":
        pytest.fail(f"LEDGER_REQUIRE_BROWSER=1, but {what}")
    pytest.skip(what)


def _chromium() -> str:
    chosen = os.environ.get("LEDGER_CHROMIUM")
    if chosen:
        return chosen
    for name in _PROGRAMS:
        if found := shutil.which(name):
            return found
    _missing(
        "there is no Chromium: put one of " + ", ".join(_PROGRAMS) + " on the PATH, or name it in "
        "LEDGER_CHROMIUM"
    )


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium of this run."""
    program = _chromium()
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        _missing("the package playwright is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program)
        yield browser
        await browser.close()


@pytest.fixture
async def ui(
    browser: Browser, temporal: TemporalServer, tmp_path: Path
) -> AsyncIterator[TemporalUi]:
    """The Temporal UI in a fresh profile; what it showed last is kept as a picture."""
    from tests.support.temporal_ui import TemporalUi

    context = await browser.new_context(
        viewport={"width": _WIDTH, "height": _HEIGHT}, locale="en-GB", timezone_id="UTC"
    )
    page = await context.new_page()
    yield TemporalUi(page, temporal.ui_url)
    await page.screenshot(path=tmp_path / "last_seen.png")
    await context.close()


@pytest.fixture
async def small_bank(
    shards: Mapping[int, Shard], temporal: TemporalServer, servers: Databases
) -> AsyncIterator[SmallBank]:
    """Three shards with a worker; at the end nothing is half delivered."""
    bank = await connected_bank(shards, temporal, servers)
    async with build_worker(bank.client, bank.shards, bank.owners):
        yield bank
    bank.board_nothing()
    assert await bank.wrong_books() == []


@pytest.fixture
async def convoys(small_bank: SmallBank) -> AsyncIterator[Convoys]:
    """Convoys that leave as soon as something boards them."""
    convoys = Convoys(small_bank.shards, hosts_worker=True)
    small_bank.board(convoys)
    convoys.connect(small_bank.client)
    yield convoys
    await convoys.close()
