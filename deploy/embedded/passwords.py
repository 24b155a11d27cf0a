"""The generated passwords of the three PostgreSQL roles, kept in one libpq password file."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy import limits
from deploy.errors import FolderError

SUPERUSER = "postgres"
OWNER = "ledger_owner"
POSTING = "ledger_posting"
ROLES = (SUPERUSER, OWNER, POSTING)
# host:port:database:user:password
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class PasswordFile:
    """A `passfile` for libpq, readable by its owner only.

    One password per role serves all servers of a stack, under any host and port: a proxy put
    before a server needs no entry of its own.
    """

    path: Path

    def read(self) -> Mapping[str, str]:
        """The password of each role. Raises FolderError when the file is missing or damaged."""
        try:
            lines = self.path.read_text().splitlines()
        except FileNotFoundError as error:
            raise FolderError(
                f"{self.path} is missing: without the passwords in it the servers cannot be used"
            ) from error
        fields = [line.split(":") for line in lines]
        passwords = {field[3]: field[4] for field in fields if len(field) == _FIELDS}
        if set(passwords) != set(ROLES):
            raise FolderError(f"{self.path} is damaged: it does not name {', '.join(ROLES)}")
        return passwords

    def obtain(self) -> Mapping[str, str]:
        """The password of each role; generates them on the first call."""
        if not self.path.exists():
            self._generate()
        return self.read()

    def _generate(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            for role in ROLES:
                file.write(f"*:*:*:{role}:{secrets.token_urlsafe(limits.PASSWORD_BYTES)}\n")
        try:
            # A link fails where a rename would overwrite: whoever comes first decides.
            os.link(draft, self.path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
