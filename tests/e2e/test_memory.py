"""A container with little memory: waves that do not fit side by side run one after the other."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import tiny_space, write_images
from tests.running import ended

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(400)]

_GROUPS = Path("/sys/fs/cgroup/memory")  # version 1, as a container sees its own
_LIMIT = 2 << 30
_BACKBONES = ("tf_efficientnet_lite0", "tf_efficientnet_lite2")


@pytest.fixture
def container() -> Iterator[Path]:
    """A group of processes with two GiB of memory."""
    group = _GROUPS / f"sweep-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(_LIMIT))
    except OSError as error:
        pytest.skip(f"no group with a limit of memory can be made: {error}")
    yield group
    for _ in range(50):
        with suppress(OSError):
            group.rmdir()
            break
        time.sleep(0.2)


def test_waves_run_one_by_one_where_two_need_more_memory_than_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for label, brightness in (("dark", 100), ("light", 108)):
        write_images(tmp_path / "data" / "cells" / label, 40, brightness, size=96)
    space = tiny_space(
        "small", {"name": "cells", "layout": "folder", "path": "cells"},
        backbones=[{"name": name, "model": name, "weights": "none"} for name in _BACKBONES],
        freeze=["last:1"], image_size=96, budget={"trials": 2, "epochs": 2, "pruner": "none"},
    )  # fmt: skip
    # As in a container: its own limit is all that is to be seen.
    enter = (
        f"echo $$ > {container}/cgroup.procs; exec unshare --cgroup --mount sh -c "
        f'\'umount {_GROUPS}; mount -t cgroup -o memory none {_GROUPS} && exec "$@"\' sh "$@"'
    )
    launch = [sys.executable, "-m", "sweep", "launch", "--space", space, "--data-root", "data"]
    process = subprocess.Popen(
        ["sh", "-c", enter, "sh", *launch], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "SWEEP_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    text = ended(process)
    log = (tmp_path / "sweeps" / "small" / "sweep.log").read_text()
    if "its process died" in log:  # else two of them have just fitted
        assert "from now on 1 waves at once" in log
    assert "failed: " not in text
    assert "test split" in text
