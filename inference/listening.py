"""A port of this machine alone, for pages that are served from it."""

from __future__ import annotations

import socket

from errors import UserError

__all__ = ["HOST", "listening"]

HOST = "127.0.0.1"


def listening(port: int) -> socket.socket:
    """A socket that listens on this machine alone.

    Args:
        port: Which; 0: any free one.

    Raises:
        UserError: It is taken, or there is no such port.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--port {port}: {reason}; choose another") from None
    return listener
