"""The Temporal UI as an operator uses it: by its menus, dialogs and labels, in a real browser."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from urllib.parse import quote

from playwright.async_api import Locator, Page, expect

PATIENCE_MS = 60_000.0
"""How long an element may take to show: the browser shares two cores with all servers."""

expect.set_options(timeout=PATIENCE_MS)

_WORDS = re.compile(r"\S")
_IS_EDITOR = "contains(@class, 'cm-content')"
_ATTEMPT = re.compile(r"(\d+) of")


@dataclass(frozen=True, slots=True)
class PendingActivity:
    """What the UI shows of an activity that has not ended: its status, the number of its present
    attempt and the message of its last failure, empty where it has not failed."""

    status: str
    attempt: int
    failure: str


class TemporalUi:
    """One tab of a browser at the Temporal UI.

    What cannot be found on the page within ``PATIENCE_MS`` raises Playwright's ``TimeoutError`` or
    an ``AssertionError``, both of which tell what was looked for.
    """

    def __init__(self, page: Page, address: str, namespace: str = "default") -> None:
        page.set_default_timeout(PATIENCE_MS)
        self._page = page
        self._workflows = f"{address}/namespaces/{namespace}/workflows"

    async def search(self, query: str) -> None:
        """Type a query into the list of workflows."""
        await self._page.goto(self._workflows)
        await self._page.get_by_test_id("toggle-manual-query").click()
        await self._page.locator('[data-testid$="manual-search-input"]').fill(query)
        await self._page.locator('[data-testid$="manual-search-button"]').click()

    async def found(self, workflow_id: str) -> Locator:
        """Wait until the list shows a workflow; the link to its page.

        Visibility is written behind the workflow's back, so the search is repeated.
        """
        link = self._page.get_by_role("link", name=workflow_id, exact=True)
        search = self._page.locator('[data-testid$="manual-search-button"]')
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while not await link.count():
                await search.click()
                await self._page.wait_for_load_state("networkidle")
        return link

    async def open(self, workflow_id: str) -> None:
        """Go to a workflow's page by its address, as the links of the ledger do."""
        await self._page.goto(f"{self._workflows}/{quote(workflow_id, safe='')}")

    async def current_details(self) -> str:
        """What the workflow says of itself at this moment, as text."""
        return await self._user_metadata("Current Details")

    async def summary(self) -> str:
        """The line that the workflow was started with."""
        return await self._user_metadata("Summary")

    async def _user_metadata(self, heading: str) -> str:
        await self._tab("user-metadata")
        title = self._page.get_by_role("heading", name=heading, exact=True)
        # The text is shown by a frame of its own, the first one below its heading.
        frame = title.locator("xpath=following::iframe[1]").content_frame
        body = frame.locator("body")
        await expect(body).to_have_text(_WORDS)
        return await body.inner_text()

    async def send_update(self, name: str, argument: str) -> str | None:
        """Send an update with one argument, typed as JSON; the sentence it is refused with."""
        success = self._page.get_by_text("Update successful", exact=True)
        # What an earlier update left on the screen is no answer to this one.
        await expect(success).to_have_count(0)
        await self._page.get_by_role("button", name="More Actions").click()
        await self._page.get_by_role("menuitem", name="Send an Update").click()
        dialog = self._dialog()
        await dialog.get_by_test_id("update-select-button").click()
        await self._option(dialog, name).click()
        editor = dialog.locator(".cm-content")
        await editor.fill(argument)
        # Once left, the editor lays the text out anew: a button below it would move from under
        # the mouse, which a click never gets over.
        await editor.blur()
        await dialog.get_by_test_id("confirm-modal-button").click()
        refusal = dialog.get_by_role("alert").filter(has_text=_WORDS)
        await expect(success.or_(refusal).first).to_be_visible()
        if not await refusal.count():
            return None
        sentence = (await refusal.first.inner_text()).splitlines()[0]
        await dialog.get_by_role("button", name="Cancel").last.click()
        return sentence

    @staticmethod
    def _option(dialog: Locator, name: str) -> Locator:
        # Below its name an option shows the update's description.
        label = dialog.page.get_by_text(name, exact=True)
        return dialog.get_by_role("option").filter(has=label)

    async def pending_activity(self) -> PendingActivity:
        """The only activity that has not ended, as the page shows it after a reload."""
        await self._tab("pending-activities")
        await self._page.reload()
        attempt = _ATTEMPT.search(await self._detail("Attempt"))
        assert attempt is not None
        status = self._page.locator("h4").locator("xpath=preceding-sibling::*[1]")
        label = self._page.get_by_text("Last Failure", exact=True)
        failure = label.locator(f"xpath=following::*[{_IS_EDITOR}][1]")
        # The UI breaks lines inside of a message, which JSON itself does not.
        shown = json.loads(await failure.inner_text(), strict=False) if await label.count() else {}
        return PendingActivity(
            (await status.inner_text()).strip(), int(attempt.group(1)), shown.get("message", "")
        )

    async def _tab(self, name: str) -> None:
        await self._page.get_by_test_id(f"{name}-tab").click()
        await self._page.wait_for_url(f"**/{name}")

    async def _detail(self, label: str) -> str:
        name = self._page.get_by_text(label, exact=True)
        return await name.locator("xpath=following-sibling::*[1]").inner_text()

    async def pause_activity(self, reason: str) -> None:
        """Pause the pending activity."""
        await self._tab("pending-activities")
        await self._page.get_by_role("button", name="Pause", exact=True).click()
        await self._dialog().get_by_label("Reason").fill(reason)
        await self._confirm("Pause")
        await expect(self._page.get_by_role("button", name="Unpause", exact=True)).to_be_visible()

    async def unpause_activity(self) -> None:
        """Let the paused activity go on."""
        await self._tab("pending-activities")
        await self._page.get_by_role("button", name="Unpause", exact=True).click()
        await self._confirm("Unpause")

    async def reset_activity(self) -> None:
        """Let the pending activity begin again with its first attempt, at once."""
        await self._tab("pending-activities")
        await self._page.get_by_role("button", name="Reset", exact=True).last.click()
        await self._confirm("Reset")

    def _dialog(self) -> Locator:
        # The page holds every dialog twice, for wide screens and for narrow ones.
        return self._page.locator("dialog[open]")

    async def _confirm(self, word: str) -> None:
        dialog = self._dialog()
        await dialog.get_by_role("button", name=word, exact=True).click()
        await expect(dialog).to_have_count(0)
