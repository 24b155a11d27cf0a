"""Free ports on the loopback interface."""

import secrets
import socket

from deploy import limits
from deploy.errors import PortInUse

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """True when a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(taken: frozenset[int] = frozenset()) -> int:
    """A port nobody listens on, and not one of `taken`. Raises PortInUse when there is none."""
    span = limits.FREE_PORT_HIGHEST - limits.FREE_PORT_LOWEST
    for _ in range(limits.FREE_PORT_ATTEMPTS):
        port = limits.FREE_PORT_LOWEST + secrets.randbelow(span)
        if port not in taken and is_free(port):
            return port
    raise PortInUse(
        f"no free port found between {limits.FREE_PORT_LOWEST} and {limits.FREE_PORT_HIGHEST}"
    )
