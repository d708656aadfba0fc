"""Disks that fill up or fail while a sweep runs: of its home, of its cache, of temporary files."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.conftest import ChaosSweep, Moments, Result
from tests.running import ended

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

_SIZE = 400 << 20


class Disk:
    """A file system of its own, that can be filled, and that can fail as a real one does."""

    def __init__(self, folder: Path) -> None:
        self.image, self.place = folder / "image", folder / "disk"
        self.place.mkdir()
        with self.image.open("wb") as file:
            file.truncate(_SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", self.image], check=True)
        self.mount()

    def mount(self) -> None:
        command = ["mount", "-o", "loop,errors=remount-ro", self.image, self.place]
        subprocess.run(command, check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.place], check=True)

    def fill(self) -> None:
        """Leave no room for another byte."""
        with suppress(OSError), (self.place / "ballast").open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass

    def fail(self) -> None:
        """Let the kernel find an error of the file system, upon which nothing is written to it."""
        device = Path(os.path.realpath(self._device())).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")

    def heal(self) -> None:
        (self.place / "ballast").unlink(missing_ok=True) if self._is_writable() else None
        self.unmount()
        subprocess.run(["fsck.ext4", "-y", self.image], check=False, capture_output=True)
        self.mount()
        (self.place / "ballast").unlink(missing_ok=True)

    def _is_writable(self) -> bool:
        return os.access(self.place, os.W_OK)

    def _device(self) -> str:
        command = ["findmnt", "--noheadings", "--output", "SOURCE", str(self.place)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def disk() -> Iterator[Disk]:
    if os.getuid() != 0 or not Path("/dev/loop-control").exists() or not shutil.which("mkfs.ext4"):
        pytest.skip("a disk of its own needs root, loop devices and e2fsprogs")
    with tempfile.TemporaryDirectory(prefix="sw", dir="/tmp") as folder:  # Ray's sockets: short
        found = Disk(Path(folder))
        yield found
        found.unmount()


def used_for(what: str, disk: Disk, sweep: ChaosSweep) -> None:
    """Let a sweep have its home, its cache or its temporary files on a disk."""
    if what == "home":
        (sweep.folder / "sweeps").symlink_to(disk.place, target_is_directory=True)
    else:
        sweep.environment["SWEEP_CACHE" if what == "cache" else "TMPDIR"] = str(disk.place)


@pytest.mark.parametrize("what", ["home", "cache", "tmp"])
@pytest.mark.parametrize("harm", ["fill", "fail"])
def test_a_disk(
    sweep: ChaosSweep, moments: Moments, undisturbed: Result, repeat: int, disk: Disk, what: str,
    harm: str,
) -> None:  # fmt: skip
    used_for(what, disk, sweep)
    process = sweep.launch()
    moments.wait(sweep)
    getattr(disk, harm)()
    text = ended(process, code=None)
    print(process.returncode, text[-1500:])
    before = sweep.records()
    assert not sweep.processes_left()
    disk.heal()
    begun = (sweep.path / "launch.json").exists()
    assert process.returncode in {0, 3 if begun else 2}, text
    if process.returncode and harm == "fill":
        full = "sweeps" if what == "home" else str(disk.place)
        assert re.search(f"no space left [a-z ]*in [^ ]*{full}|the disk is full", text), text
    if begun:
        sweep.run("resume", sweep.name)
    else:
        ended(sweep.launch())
    sweep.check(undisturbed, before)
