"""What a data folder remembers about its stack: format, shards and ports."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.embedded.binaries import POSTGRES_MAJOR
from deploy.errors import FolderError, FolderForeign, FolderVersionMismatch, StackNotUp

FORMAT = 1
_VERSION = f"format {FORMAT}, PostgreSQL {POSTGRES_MAJOR}"

# What a first `up` that was killed may leave before it marks the folder as its own.
_FIRST_FILES = frozenset({"lock", "VERSION.new"})


@dataclass(frozen=True, slots=True)
class StackRecord:
    """The shape of a stack. `ports` has one for each server that listens on TCP, by its name."""

    shards: int
    tcp: bool
    with_temporal: bool
    ports: Mapping[str, int]


def require_own_format(folder: Path) -> None:
    """Passes a folder of this version, and a new or empty one.

    Raises FolderVersionMismatch for one of another version and FolderForeign for any other.
    """
    found = _read(folder / "VERSION")
    if found is None:
        strangers = {path.name for path in folder.glob("*")} - _FIRST_FILES
        if strangers:
            raise FolderForeign(
                f"{folder} is not a data folder of the ledger, but holds {min(strangers)}; "
                "choose an empty one with LEDGER_DATA"
            )
    elif found.strip() != _VERSION:
        raise FolderVersionMismatch(
            f"{folder} was written by another version ({found.strip()}); this one uses {_VERSION}. "
            "Choose another folder with LEDGER_DATA, or remove this one."
        )


def mark_format(folder: Path) -> None:
    """Makes an empty folder one of this version. Raises as `require_own_format` does."""
    require_own_format(folder)
    _replace(folder / "VERSION", _VERSION + "\n")


def load_record(folder: Path) -> StackRecord | None:
    """The record of a folder, or None in a new one. Raises as `require_own_format` does.

    A damaged record raises FolderError.
    """
    require_own_format(folder)
    path = folder / "stack.json"
    text = _read(path)
    try:
        return None if text is None else StackRecord(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise FolderError(f"{path} is damaged: {error}") from error


def require_record(folder: Path) -> StackRecord:
    """The record of a folder. Raises StackNotUp in a new one."""
    record = load_record(folder)
    if record is None:
        raise StackNotUp(f"no stack was ever brought up in {folder}; run: ledger up")
    return record


def save_record(folder: Path, record: StackRecord) -> None:
    """Writes the record; a reader sees the old one or the new one, whole."""
    _replace(folder / "stack.json", json.dumps(asdict(record), indent=2) + "\n")


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    draft.replace(path)
