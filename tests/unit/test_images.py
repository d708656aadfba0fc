import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from sweep.data.io.dicom import uneven_gaps
from sweep.data.io.images import decode, open_picture
from sweep.data.io.volumes import VolumeFile, read_volume, select_slices, window
from sweep.data.layouts.tree import is_image
from sweep.errors import DataError

pydicom = pytest.importorskip("pydicom", reason="needs the extra sweep[medical]")
nibabel = pytest.importorskip("nibabel", reason="needs the extra sweep[medical]")

DICOM = Path(pydicom.data.__file__).parent / "test_files"
NIFTI = Path(nibabel.__file__).parent / "tests" / "data"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(open_picture(path))


def changed_ct(folder: Path, **tags: object) -> Path:
    """A CT slice of 128 x 128 with other tags, None meaning without."""
    dataset = pydicom.dcmread(DICOM / "CT_small.dcm")
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    path = folder / "ct.dcm"
    dataset.save_as(path)
    return path


def stored(path: Path) -> np.ndarray:
    dataset = pydicom.dcmread(path)
    return dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize(("center", "width"), [(-500, 600), (40, 3), (0, 1)])
def test_a_dicom_window_is_that_of_pydicom(
    tmp_path: Path, function: str | None, center: int, width: int
) -> None:
    tags = {} if function is None else {"VOILUTFunction": function}
    path = changed_ct(tmp_path, WindowCenter=center, WindowWidth=width, **tags)
    dataset = pydicom.dcmread(path)
    shown = pydicom.pixels.apply_windowing(stored(path), dataset)
    # pydicom's levels lie in the range that the stored bits allow.
    low, high = (
        v * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        for v in (-(2 ** (dataset.BitsStored - 1)), 2 ** (dataset.BitsStored - 1) - 1)
    )
    expected = (shown - low) * 255 / (high - low)
    assert np.abs(pixels(path) - expected).max() <= 0.51


def test_the_first_of_several_windows_is_taken(tmp_path: Path) -> None:
    one = pixels(changed_ct(tmp_path, WindowCenter=-500, WindowWidth=600))
    several = changed_ct(tmp_path, WindowCenter=[-500, 40], WindowWidth=[600, 80])
    assert np.array_equal(pixels(several), one)


def test_a_sigmoid_window_has_no_sharp_ends(tmp_path: Path) -> None:
    path = changed_ct(tmp_path, WindowCenter=-500, WindowWidth=600, VOILUTFunction="SIGMOID")
    expected = 255 / (1 + np.exp(-4 * (stored(path) + 500) / 600))
    assert np.abs(pixels(path) - expected).max() <= 0.5


def test_a_table_of_grey_levels_is_looked_up(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor = [256, -128, 8]
    table.LUTData = np.arange(255, -1, -1, dtype="<u2").tobytes()  # a negative
    path = changed_ct(tmp_path, VOILUTSequence=[table])
    expected = 255 - np.clip(stored(path) + 128, 0, 255)
    assert np.array_equal(pixels(path), expected)


def test_without_a_window_percentiles_are_black_and_white(tmp_path: Path) -> None:
    found = pixels(changed_ct(tmp_path))
    assert (found == 0).mean() == pytest.approx(0.01, abs=0.01)
    assert (found == 255).mean() == pytest.approx(0.01, abs=0.01)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    plain = pixels(changed_ct(tmp_path))
    inverted = pixels(changed_ct(tmp_path, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(inverted, 255 - plain)


def test_of_several_frames_the_middle_one_is_shown() -> None:
    assert pixels(DICOM / "SC_rgb_rle_2frame.dcm").shape == (100, 100, 3)


@pytest.mark.parametrize(
    ("compressed", "plain"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("SC_rgb_rle.dcm", "SC_rgb_gdcm_KY.dcm"),
    ],
)
def test_compressed_dicom_gives_the_same_picture(compressed: str, plain: str) -> None:
    assert np.abs(pixels(DICOM / compressed).astype(int) - pixels(DICOM / plain)).max() <= 1


@pytest.mark.parametrize(
    "name",
    ["JPEG2000.dcm", "JPGExtended.dcm", "examples_palette.dcm", "examples_ybr_color.dcm"],
)
def test_other_kinds_of_dicom_are_read(name: str) -> None:
    assert decode(open_picture(DICOM / name), 32, "bilinear").std() > 5


def test_a_dicom_file_without_suffix_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "IM000001"
    path.write_bytes((DICOM / "CT_small.dcm").read_bytes())
    assert pixels(path).shape == (128, 128)


@pytest.mark.parametrize(
    ("name", "said"),
    [("rtplan.dcm", "holds no pixels"), ("MR_truncated.dcm", "less than expected")],
)
def test_a_dicom_file_without_its_pixels_is_an_error(name: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        open_picture(DICOM / name)


def test_a_nifti_file_shows_its_middle_slice() -> None:
    volume = read_volume(NIFTI / "anatomical.nii")
    found = pixels(NIFTI / "anatomical.nii")
    assert found.shape == volume.shape[1:]
    assert found.std() > 5


def arrow_volume() -> np.ndarray:
    """Voxels (X, Y, Z) in RAS: brighter to the right, much brighter to the front and the head."""
    x, y, z = np.meshgrid(np.arange(5), np.arange(6), np.arange(7), indexing="ij")
    return (x + 10 * y + 100 * z).astype(np.float32)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "ASL", "LAS"])
def test_volumes_are_turned_to_the_same_view_however_they_are_stored(
    tmp_path: Path, axes: str
) -> None:
    to = nibabel.orientations.axcodes2ornt(tuple(axes))
    image = nibabel.Nifti1Image(arrow_volume(), np.eye(4)).as_reoriented(to)
    nibabel.save(image, tmp_path / "v.nii.gz")
    found = read_volume(tmp_path / "v.nii.gz")
    # Slices from below; in each, front is up and the patient's right is on the left.
    assert np.array_equal(found, arrow_volume().transpose(2, 1, 0)[:, ::-1, ::-1])


def write_series(folder: Path, voxels: np.ndarray, placed: bool = True) -> None:
    """An axial series whose file names are not in the order of its slices."""
    folder.mkdir(parents=True)
    for z in range(voxels.shape[2]):
        dataset = pydicom.dcmread(DICOM / "MR_small.dcm")
        dataset.Rows, dataset.Columns = voxels.shape[1], voxels.shape[0]
        dataset.PixelData = voxels[:, :, z].T.astype(np.int16).tobytes()
        dataset.InstanceNumber = z + 1
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [0, 0, 3.0 * z]
        if not placed:
            del dataset.ImagePositionPatient
        dataset.save_as(folder / f"IM{(z * 5) % 7:03}.dcm")


@pytest.mark.parametrize("placed", [True, False])
def test_a_dicom_series_is_the_volume_that_nifti_is(tmp_path: Path, placed: bool) -> None:
    voxels = arrow_volume()[::-1, ::-1]  # DICOM counts to the left and to the back
    write_series(tmp_path / "series", voxels, placed)
    expected = arrow_volume().transpose(2, 1, 0)[:, ::-1, ::-1]
    assert np.array_equal(read_volume(tmp_path / "series"), expected)


def test_two_slices_at_one_place_are_an_error(tmp_path: Path) -> None:
    write_series(tmp_path / "s", arrow_volume())
    first, second = sorted((tmp_path / "s").iterdir())[:2]
    dataset, other = pydicom.dcmread(first), pydicom.dcmread(second)
    dataset.ImagePositionPatient = other.ImagePositionPatient
    dataset.save_as(first)
    with pytest.raises(ValueError, match=r"1 of its .* slices lie where another one lies"):
        read_volume(tmp_path / "s")


def test_a_gap_in_a_series_is_told(tmp_path: Path) -> None:
    write_series(tmp_path / "s", arrow_volume())
    assert uneven_gaps(tmp_path / "s") is None
    sorted((tmp_path / "s").iterdir())[3].unlink()
    assert "1 of" in str(uneven_gaps(tmp_path / "s"))


def test_voxels_outside_of_a_mask_that_are_nan_are_background(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).uniform(100, 200, (8, 8, 8)).astype(np.float32)
    voxels[:3] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "v.nii.gz")
    read = read_volume(tmp_path / "v.nii.gz")
    assert np.isfinite(read).all()
    assert read.min() == np.nanmin(voxels)


def test_a_dicom_file_without_preamble_is_read_whatever_its_name(tmp_path: Path) -> None:
    whole = changed_ct(tmp_path)
    dataset = pydicom.dcmread(whole)
    expected = pixels(whole)
    for name in ("1.2.840.113619.2.5.17", "slice", "x.0001"):
        bare = pydicom.Dataset(dataset)
        bare.save_as(tmp_path / name, implicit_vr=True, little_endian=True)
        assert (tmp_path / name).read_bytes()[128:132] != b"DICM"
        assert is_image(str(tmp_path / name))
        assert np.array_equal(pixels(tmp_path / name), expected)
    assert not any(is_image(str(p)) for p in Path(__file__).parent.iterdir() if p.is_file())


def test_colours_of_fewer_bits_than_they_take_use_the_full_range(tmp_path: Path) -> None:
    levels = np.linspace(0, 4095, 128 * 128 * 3).astype(np.uint16)
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0,
               "PixelRepresentation": 0, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
               "PixelData": levels.tobytes()}  # fmt: skip
    shown = pixels(changed_ct(tmp_path, **colours))
    assert shown.shape == (128, 128, 3)
    assert len(np.unique(shown)) == 256


def test_a_folder_of_two_series_is_an_error(tmp_path: Path) -> None:
    write_series(tmp_path / "series", arrow_volume())
    other = pydicom.dcmread(DICOM / "MR_small.dcm")
    other.SeriesInstanceUID = "1.2.3"
    other.save_as(tmp_path / "series" / "other.dcm")
    with pytest.raises(ValueError, match="2 series"):
        read_volume(tmp_path / "series")


def test_the_slices_with_the_most_tumour_are_chosen() -> None:
    tumour = np.array([0, 0, 9, 5, 0, 1])
    assert select_slices(6, 3, tumour) == [2, 3, 5]
    assert select_slices(6, 4, tumour) == [2, 3, 5, 1]  # then the nearest to the largest
    assert select_slices(6, 2, None) == [2, 3]
    assert select_slices(6, 2, np.zeros(6, int)) == [2, 3]


def test_the_window_is_of_the_head_not_of_the_air() -> None:
    rng = np.random.default_rng(0)
    volume = rng.normal(5, 2, (8, 40, 40)).astype(np.float32)  # noise in the air
    volume[:, 10:30, 10:30] = rng.normal(300, 20, (8, 20, 20))
    low, high = window(volume)
    assert 200 < low < 260
    assert 340 < high < 400


@pytest.mark.parametrize(
    ("voxels", "said"),
    [
        (np.full((4, 4, 4), np.nan, np.float32), "64 of its 64 voxels are not numbers"),
        (np.ones((4, 4, 1), np.float32), "it has one slice; 3 are asked for"),
        (np.ones((4, 4, 4, 2), np.float32), "not that of one volume"),
    ],
)
def test_a_bad_volume_is_an_error(tmp_path: Path, voxels: np.ndarray, said: str) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "v.nii.gz")
    with pytest.raises(ValueError, match=said):
        VolumeFile(tmp_path / "v.nii.gz").slices(3)


def test_a_mask_of_another_shape_is_an_error(tmp_path: Path) -> None:
    for name, depth in (("v", 6), ("seg", 5)):
        image = nibabel.Nifti1Image(np.ones((4, 4, depth), np.float32), np.eye(4))
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
    with pytest.raises(ValueError, match=r"its mask seg\.nii\.gz"):
        VolumeFile(tmp_path / "v.nii.gz", tmp_path / "seg.nii.gz").slices(3)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (30_000, 30_000)).save(path)
    with pytest.raises(Image.DecompressionBombError):
        decode(open_picture(path), 8, "bilinear")


def test_sixteen_bits_are_scaled_by_the_pictures_own_range(tmp_path: Path) -> None:
    ramp = np.linspace(1000, 5000, 64, dtype=np.uint16).reshape(8, 8)
    for suffix in ("png", "tif"):
        Image.fromarray(ramp).save(tmp_path / f"x.{suffix}")
        found = decode(open_picture(tmp_path / f"x.{suffix}"), 8, "bilinear")[:, :, 0]
        assert (found.min(), found.max()) == (0, 255)
    np.save(tmp_path / "x.npy", ramp)
    assert np.array_equal(decode(open_picture(tmp_path / "x.npy"), 8, "bilinear")[:, :, 0], found)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_png_of_16_bits_a_colour_has_as_many_grey_levels_as_grey(
    tmp_path: Path, channels: int
) -> None:
    grey = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # 12 bits, in 16
    Image.fromarray(grey).save(tmp_path / "grey.png")
    write_png16(tmp_path / "deep.png", np.repeat(grey[:, :, None], channels, axis=2))
    plain = decode(open_picture(tmp_path / "grey.png"), 64, "nearest")
    assert np.array_equal(decode(open_picture(tmp_path / "deep.png"), 64, "nearest"), plain)
    assert len(np.unique(plain)) == 256


def write_png16(path: Path, pixels_HWC: np.ndarray) -> None:
    """Write a PNG of 16 bits a channel, which Pillow cannot."""
    height, width, channels = pixels_HWC.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels_HWC)
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)),
             (b"IDAT", zlib.compress(rows)), (b"IEND", b""))  # fmt: skip
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in parts:
        content += struct.pack(">I", len(body)) + name + body
        content += struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(content)


def test_a_tiff_of_16_bits_a_colour_is_refused_in_words(tmp_path: Path) -> None:
    fields = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 3, 122), (259, 3, 1, 1), (262, 3, 1, 2),
              (273, 4, 1, 128), (277, 3, 1, 3), (278, 3, 1, 2), (279, 4, 1, 24)]  # fmt: skip
    head = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(fields))
    head += b"".join(struct.pack("<HHII", *field) for field in fields) + b"\0\0\0\0"
    assert len(head) == 122
    bits = struct.pack("<HHH", 16, 16, 16)
    (tmp_path / "deep.tif").write_bytes(head + bits + bytes(24))
    with pytest.raises(ValueError, match="16 bits a colour, which is not read: save it as PNG"):
        open_picture(tmp_path / "deep.tif")


def test_a_pointer_of_git_lfs_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match="pointer of Git LFS, not the file: run 'git lfs pull'"):
        open_picture(tmp_path / "a.png")


def test_draft_decoding_of_a_jpeg_is_near_to_full_decoding() -> None:
    y, x = np.mgrid[:800, :800]
    picture = (127 + 80 * np.sin(x / 50) + 40 * np.cos(y / 30)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).convert("RGB").save(buffer, "JPEG", quality=92)
    draft = decode(Image.open(buffer), 100, "bicubic").astype(int)
    full = Image.open(buffer)
    full.load()  # from now on it is too late for a draft
    assert np.abs(draft - decode(full, 100, "bicubic")).mean() < 1


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep.data.io import extras

    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"sweep\[medical\]"):
        open_picture(DICOM / "CT_small.dcm")


@pytest.mark.parametrize("shape", [(300, 200), (97, 401), (64, 64)])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.5])
def test_crop_is_that_of_torchvision(shape: tuple[int, int], crop: float) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8))
    resized = v2.functional.resize(image, [round(64 / crop)], v2.InterpolationMode.BICUBIC)
    wanted = np.asarray(v2.functional.center_crop(resized, [64, 64]))
    assert np.array_equal(decode(image.copy(), 64, "bicubic", crop), wanted)
