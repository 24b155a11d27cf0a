"""The private copy of a payment file that is checked and executed."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from router.iso20022.errors import FileTooLarge, FileUnreadable
from router.payroll_spool import spooled

CONTENT = b"<Document/>" * 100


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, empty at first; a chunk has a few bytes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr("router.payroll_spool.PAYROLL_SPOOL_CHUNK_BYTES", 64)
    return folder


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A file that everybody may read."""
    path = tmp_path / "payroll.xml"
    path.write_bytes(CONTENT)
    path.chmod(0o644)
    return path


def left_in(folder: Path) -> list[str]:
    """The names of what a folder holds."""
    return [each.name for each in folder.iterdir()]


def modes(*paths: Path) -> list[int]:
    """Who may read and write them."""
    return [path.stat().st_mode & 0o777 for path in paths]


async def test_the_copy_stays_as_it_was_when_the_original_changes(original: Path) -> None:
    """Whoever writes to the original afterwards changes nothing."""
    async with spooled(original) as spool:
        await asyncio.to_thread(original.write_bytes, b"changed")
        assert await asyncio.to_thread(spool.read_bytes) == CONTENT


async def test_only_its_owner_can_read_the_copy(original: Path) -> None:
    """It lists what people earn."""
    async with spooled(original) as spool:
        assert modes(spool.parent, spool) == [0o700, 0o600]


async def test_the_copy_is_gone_at_the_end(original: Path, temporary: Path) -> None:
    """While it is used it lies in the folder for temporary files."""
    async with spooled(original) as spool:
        assert left_in(temporary) == [spool.parent.name]
    assert left_in(temporary) == []


class Failed(Exception):
    """The use of the copy fails here."""


async def test_the_copy_is_gone_after_a_failure(original: Path, temporary: Path) -> None:
    """Whatever goes wrong, no list of salaries stays behind."""
    with pytest.raises(Failed):
        async with spooled(original):
            raise Failed
    assert left_in(temporary) == []


async def test_the_copy_is_gone_after_a_cancellation(original: Path, temporary: Path) -> None:
    """A run stopped from outside leaves nothing either."""
    is_open = asyncio.Event()

    async def use() -> None:
        async with spooled(original):
            is_open.set()
            await asyncio.Event().wait()

    run = asyncio.create_task(use())
    await is_open.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert left_in(temporary) == []


async def test_a_file_without_end_is_not_copied_without_end(
    original: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has the limit that the check has."""
    monkeypatch.setattr("router.payroll_spool.PAYMENT_FILE_BYTES_MAX", len(CONTENT) - 1)
    with pytest.raises(FileTooLarge):
        async with spooled(original):
            pass
    assert left_in(temporary) == []


async def test_a_file_that_is_not_there_is_refused(original: Path, temporary: Path) -> None:
    """The refusal says why it cannot be read."""
    missing = original.with_name("missing.xml")
    with pytest.raises(FileUnreadable) as refused:
        async with spooled(missing):
            pass
    assert "No such file or directory" in str(refused.value)
    assert left_in(temporary) == []
