"""The token with which a cluster of Ray is asked, from where Ray's documentation has it."""

import os
from pathlib import Path


def auth_headers() -> dict[str, str]:
    """Return the headers of a request to Ray's dashboard: none unless RAY_AUTH_MODE is token.

    The token stands in RAY_AUTH_TOKEN, else in the file that RAY_AUTH_TOKEN_PATH names, else in
    ``~/.ray/auth_token``.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN") or _read_token()
    return {"Authorization": f"Bearer {token.strip()}"} if token else {}


def _read_token() -> str:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        return Path(path or Path.home() / ".ray" / "auth_token").read_text("utf-8")
    except OSError:
        return ""
