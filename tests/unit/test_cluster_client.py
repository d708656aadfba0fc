"""The client of a cluster's head: a head that hangs is not waited for."""

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweep.errors import Interrupted
from sweep.remote import client as cluster
from sweep.remote.client import Head
from sweep.remote.token import auth_headers


class Hanging:
    """A client whose head has taken the connection and says nothing."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def get_job_info(self, job: str) -> SimpleNamespace:
        self.released.wait(20)
        raise ConnectionError("gone")

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield "a line\n"
        self.released.wait(20)


def test_who_follows_a_head_that_hangs_is_told_and_keeps_what_was_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, seconds in (("_ANSWER_S", 0.1), ("_LOOK_EVERY_S", 0.1), ("_RECONNECT_S", 0.2)):
        monkeypatch.setattr(cluster, name, seconds)
    shown: list[str] = []
    client = Hanging()
    with pytest.raises(Interrupted, match="the connection to the head at http://h:1 was lost"):
        Head("http://h:1", client).follow("job", shown.append)
    client.released.set()
    assert shown == ["a line\n"]


@pytest.mark.parametrize("place", ["variable", "named file", "file in the home", "nowhere"])
def test_the_token_is_found_where_ray_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    if place == "variable":
        monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    elif place == "named file":
        (tmp_path / "token").write_text("secret\n")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    elif place == "file in the home":
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("secret\n")
    expected = {} if place == "nowhere" else {"Authorization": "Bearer secret"}
    assert auth_headers() == expected


def test_without_token_mode_no_token_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert auth_headers() == {}
