"""Addresses of servers that may hold a password: shown and kept without it."""

import re

from sweep.base.settings import given_tracking_uri

_IN_FRONT = re.compile(r"(://[^/\s:@]*):[^/\s]*@")  # matches user:password@host
_IN_QUERY = re.compile(r"([?&](?:password|passwd|token|secret|api_key|access_key)=)[^&\s]+", re.I)

# Maps each address without its password to the address as given to this process.
_known: dict[str, str] = {}


def has_password(text: str) -> bool:
    """Tell whether an address in a text holds a password."""
    return bool(_IN_FRONT.search(text) or _IN_QUERY.search(text))


def without_password(text: str) -> str:
    """Return a text in which ``***`` stands for the passwords of its addresses."""
    return _IN_QUERY.sub(r"\1***", _IN_FRONT.sub(r"\1:***@", text))


def kept_address(address: str) -> str:
    """Return an address as it may be written down: without its password.

    This process goes on knowing it; another one finds it in MLFLOW_TRACKING_URI, or in what the
    server's own client reads: PGPASSWORD, ~/.pgpass, MLFLOW_TRACKING_PASSWORD.
    """
    kept = re.sub(r"[?&]$", "", _IN_QUERY.sub("", _IN_FRONT.sub(r"\1@", address)))
    if kept != address:
        _known[kept] = address
    return kept


def usable_address(kept: str) -> str:
    """Return a kept address with the password that this process knows for it."""
    from_environment = given_tracking_uri()
    if kept_address(from_environment) == kept:
        return from_environment
    return _known.get(kept, kept)
