"""Servers that go away, hang or answer with errors while a sweep runs: MLflow, its ledger's."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.conftest import ChaosSweep, Moments, Result
from tests.running import ended, wait_until
from tests.servers import mlflow_server, postgresql

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops"


class Proxy:
    """Stands before a server; `mode` tells how it harms what passes: see `_serve`."""

    def __init__(self, port: int) -> None:
        self.mode, self._upstream = "pass", port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.mode = "gone"
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = ("127.0.0.1", self._upstream)
        with client, suppress(OSError), socket.create_connection(server) as up:
            threading.Thread(target=self._answer, args=(up, client), daemon=True).start()
            while data := client.recv(1 << 16):
                if self.mode == "gone":
                    return
                if self.mode == "error":
                    client.sendall(_ERROR)
                    return
                while self.mode == "hang":
                    time.sleep(0.1)
                if self.mode == "slow":
                    time.sleep(0.3)
                up.sendall(data)

    def _answer(self, up: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := up.recv(1 << 16):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("mlflow")
    store = f"sqlite:///{folder / 'mlflow.db'}"
    with mlflow_server(folder, "--backend-store-uri", store) as url:
        yield int(url.rpartition(":")[2])


@pytest.mark.parametrize("mode", ["gone", "error", "hang", "slow"])
def test_mlflow_harms_no_trial_and_is_sent_all_when_it_is_back(
    tmp_path: Path, mlflow: int, moments: Moments, undisturbed: Result, repeat: int, mode: str
) -> None:
    proxy = Proxy(mlflow)
    uri = f"http://127.0.0.1:{proxy.port}"
    sweep = ChaosSweep(tmp_path, f"{mode}{repeat}", MLFLOW_TRACKING_URI=uri)
    process = sweep.launch()
    moments.wait(sweep)
    proxy.mode = mode
    text = ended(process)
    assert mode == "slow" or not list((sweep.path / "spool").glob("*")) or "wait for MLflow" in text
    before = sweep.records()
    proxy.mode = "pass"
    sweep.run("sync", sweep.name)
    sweep.check(undisturbed, before)
    proxy.close()


def test_a_ledger_that_is_locked_is_waited_for(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int
) -> None:
    process = sweep.launch()
    moments.wait(sweep, searching=True)
    before = sweep.records()
    lock = sweep.path / "ledger.journal.lock"
    wait_until(lambda: not lock.exists())
    lock.touch()
    time.sleep(20)
    lock.unlink()
    ended(process)
    sweep.check(undisturbed, before)


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_postgresql_that_is_restarted_is_waited_for(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int, how: str, tmp_path: Path
) -> None:
    with postgresql(tmp_path / "postgresql") as server:
        ledger = server.create("ledger")
        sweep.environment["PGPASSWORD"] = "tests only"
        process = sweep.launch("--ledger", ledger)
        moments.wait(sweep, searching=True)
        before = sweep.records()
        server.stop(how)
        time.sleep(3)
        server.start()
        ended(process)
        sweep.check(undisturbed, before)
