"""Random damage to DICOM, NIfTI and picture files: named, never a traceback, whatever decodes."""

import json
import random
from pathlib import Path

import pytest

from tests.conftest import Command, write_images

nibabel = pytest.importorskip("nibabel", reason="needs the extra sweep[medical]")
pydicom = pytest.importorskip("pydicom", reason="needs the extra sweep[medical]")

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(900)]

DICOM = [
    "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "JPEG2000.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_jls_lossy_line.dcm", "examples_palette.dcm", "SC_rgb_rle.dcm",
]  # fmt: skip


def damaged(path: Path, rng: random.Random) -> bytes:
    """The bytes of a file with some of them changed, or without its end."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 3, 10, 50])):
        data[rng.randrange(132, len(data))] = rng.randrange(256)
    return bytes(data if rng.random() < 0.8 else data[: rng.randrange(len(data))])


def test_ten_thousand_damaged_files_are_read_or_named(sweep: Command, tmp_path: Path) -> None:
    rng, root = random.Random(0), tmp_path / "data"
    sources = [Path(pydicom.data.__file__).parent / "test_files" / name for name in DICOM]
    sources.append(Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii")
    for label, brightness in (("a", 60), ("b", 180)):
        write_images(root / label, 20, brightness)
        for i in range(5000):
            source = rng.choice(sources)
            (root / label / f"x{i}{source.suffix}").write_bytes(damaged(source, rng))
    done = sweep("data", "check", root, "--json")
    assert done.code == 1, done.err
    found = {finding["kind"]: finding for finding in json.loads(done.out)["findings"]}
    assert all(": " in item for item in found["unreadable"]["items"])
    assert sweep("data", "check", root, "--json").out == done.out
