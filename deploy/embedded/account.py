"""The account that PostgreSQL runs under: the caller, or an unprivileged one for root."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import AccountMissing

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """An operating system account, by the ids that processes are started with."""

    name: str
    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Gives a file or folder to this account."""
        os.chown(path, self.uid, self.gid)


def service_account() -> ServiceAccount | None:
    """The account for PostgreSQL, or None when the caller's own will do.

    PostgreSQL refuses to run as root. Raises AccountMissing when the caller is root and the
    machine has none of the usual accounts.
    """
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServiceAccount(name, entry.pw_uid, entry.pw_gid)
    raise AccountMissing(
        "PostgreSQL refuses to run as root, and this machine has neither an account 'postgres' "
        "nor 'nobody' to run it under. Create one, or run this as an ordinary user."
    )
