"""Each data set's own tree, made small, is read as it was published."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sweep.data.layouts import location, read_samples, source
from sweep.data.layouts.recognise import dataset_of
from sweep.errors import DataError
from sweep.space.specs import DatasetSpec
from tests.conftest import write_images

nibabel = pytest.importorskip("nibabel", reason="needs the extra sweep[medical]")


def known(name: str, **keys: object) -> DatasetSpec:
    spec = DatasetSpec.model_validate(name)
    return spec.model_copy(update=keys)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def volume(path: Path, brightest: int = 3, shape: tuple[int, int, int] = (6, 6, 8)) -> Path:
    """A volume in which slice `brightest` is brightest."""
    voxels = np.ones(shape, np.float32) * 10
    voxels[1:-1, 1:-1, brightest] = 100
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    return path


def mask(path: Path, tumour_in: int, shape: tuple[int, int, int] = (6, 6, 8)) -> Path:
    voxels = np.zeros(shape, np.uint8)
    voxels[2:4, 2:4, tumour_in] = 1
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    return path


def test_chest_xray_joins_its_tiny_validation_folder_to_training(tmp_path: Path) -> None:
    root = tmp_path / "chest_xray"
    touch(
        root / "train/PNEUMONIA/person23_bacteria_87.jpeg",
        root / "train/PNEUMONIA/person23_bacteria_88.jpeg",
        root / "train/NORMAL/IM-0115-0001.jpeg",
        root / "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
        root / "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
        root / "test/NORMAL/IM-0001-0001.jpeg",
        root / "test/PNEUMONIA/person23_virus_6.jpeg",
    )
    samples = read_samples(known("chest_xray"), tmp_path)
    assert Counter(s.split for s in samples) == {"train": 5, "test": 2}
    of_person23 = [s.group for s in samples if "person23_b" in s.path]
    assert of_person23 == ["train/person23", "train/person23"]


def test_ichallenge_amd_by_folder_and_prefix(tmp_path: Path) -> None:
    root = tmp_path / "ichallenge_amd" / "Training400"
    touch(root / "AMD/A0001.jpg", root / "AMD/A0002.jpg", root / "Non-AMD/N0001.jpg")
    touch(root / "Fovea_location.xlsx", tmp_path / "ichallenge_amd/Disc_Masks/A0001.bmp")
    samples = read_samples(known("ichallenge_amd"), tmp_path)
    assert Counter(s.label for s in samples) == {"AMD": 2, "Non-AMD": 1}


def test_a_photograph_in_the_other_classs_folder_is_named(tmp_path: Path) -> None:
    root = tmp_path / "ichallenge_amd" / "Training400"
    touch(root / "AMD/A0001.jpg", root / "Non-AMD/A0002.jpg")
    with pytest.raises(DataError, match=r"A0002\.jpg: folder Non-AMD, but the name says AMD"):
        read_samples(known("ichallenge_amd"), tmp_path)


def test_ichallenge_pm_tests_on_the_validation_set(tmp_path: Path) -> None:
    root = tmp_path / "ichallenge_pm"
    touch(*(root / "PALM-Training400" / f"{name}.jpg" for name in ("H0001", "N0001", "P0001")))
    touch(*(root / "PALM-Validation400" / f"V000{i}.jpg" for i in (1, 2)))
    (root / "labels.csv").write_text("ID,imgName,Label\n1,V0001.jpg,0\n2,V0002.jpg,1\n")
    samples = read_samples(known("ichallenge_pm"), tmp_path)
    assert [(s.label, s.split) for s in samples] == [
        ("Non-PM", "train"),
        ("Non-PM", "train"),
        ("PM", "train"),
        ("Non-PM", "test"),
        ("PM", "test"),
    ]


def ham10000(root: Path, suffix: str = "jpg") -> None:
    rows = ["lesion_id,image_id,dx"]
    for i in range(6):
        rows.append(f"HAM_{i // 2},ISIC_{i},{'nv' if i < 4 else 'mel'}")
        touch(root / f"HAM10000_images_part_{1 + i % 2}" / f"ISIC_{i}.{suffix}")
    (root / "HAM10000_metadata.csv").write_text("\n".join(rows))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_ham10000_groups_by_lesion(tmp_path: Path, suffix: str) -> None:
    ham10000(tmp_path / "ham10000", suffix)
    samples = read_samples(known("ham10000"), tmp_path)
    assert Counter(s.group for s in samples) == {"HAM_0": 2, "HAM_1": 2, "HAM_2": 2}
    assert {s.split for s in samples} == {None}


@pytest.mark.parametrize(
    "truth",
    [
        "image,MEL,NV,BCC\nISIC_90,1.0,0.0,0.0\nISIC_91,0.0,1.0,0.0\n",
        "lesion_id,image_id,dx\nHAM_90,ISIC_90,mel\nHAM_91,ISIC_91,nv\n",
    ],
)
def test_the_isic_2018_test_set_is_the_test_where_it_is_there(tmp_path: Path, truth: str) -> None:
    root = tmp_path / "ham10000"
    ham10000(root)
    touch(*(root / "ISIC2018_Task3_Test_Input" / f"ISIC_{i}.jpg" for i in (90, 91)))
    (root / "ISIC2018_Task3_Test_GroundTruth.csv").write_text(truth)
    samples = read_samples(known("ham10000"), tmp_path)
    assert [(s.label, s.split) for s in samples[-2:]] == [("mel", "test"), ("nv", "test")]
    assert {s.split for s in samples[:6]} == {"train"}


def test_the_grade_of_lgg_mri_is_its_patients(tmp_path: Path) -> None:
    root = tmp_path / "lgg_mri" / "kaggle_3m"
    for patient, first in (("TCGA_CS_4941_19960909", 50), ("TCGA_DU_1_2", 90), ("TCGA_X_9_9", 9)):
        write_images(root / patient, 1, first)
        (root / patient / "000.png").rename(root / patient / f"{patient}_1.tif")
    rows = "TCGA_CS_4941,1\nTCGA_DU_1,2\nTCGA_X_9,\n"
    (root / "data.csv").write_text("Patient,neoplasm_histologic_grade\n" + rows)
    samples = read_samples(known("lgg_mri", slices=2), tmp_path)
    assert Counter((s.label, s.group) for s in samples) == {
        ("grade 2", "TCGA_CS_4941"): 2,
        ("grade 3", "TCGA_DU_1"): 2,
    }


@pytest.mark.parametrize(
    "folder",
    ["MICCAI_BraTS2020_TrainingData", "BraTS2020_TrainingData/MICCAI_BraTS2020_TrainingData"],
)
def test_brats_2020_has_its_grades_in_a_table(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder
    for i in (1, 2):
        name = f"BraTS20_Training_00{i}"
        volume(root / name / f"{name}_t1ce.nii.gz")
        mask(root / name / f"{name}_seg.nii.gz", 5)
    (root / "name_mapping.csv").write_text(
        "Grade,BraTS_2019_subject_ID,BraTS_2020_subject_ID\n"
        "HGG,NA,BraTS20_Training_001\nLGG,x,BraTS20_Training_002\n"
    )
    samples = read_samples(known("glioma_t1ce", slices=2), tmp_path)
    assert Counter((s.label, s.group) for s in samples) == {
        ("HGG", "BraTS20_Training_001"): 2,
        ("LGG", "BraTS20_Training_002"): 2,
    }


def test_brats_2018_has_its_grades_in_folders(tmp_path: Path) -> None:
    root = tmp_path / "MICCAI_BraTS_2018_Data_Training"
    for grade, name in (("HGG", "Brats18_2013_10_1"), ("LGG", "Brats18_2013_0_1")):
        volume(root / grade / name / f"{name}_flair.nii.gz")
    samples = read_samples(known("glioma_flair", slices=1), tmp_path)
    assert [(s.label, s.group) for s in samples] == [
        ("HGG", "Brats18_2013_10_1"),
        ("LGG", "Brats18_2013_0_1"),
    ]


def test_ucsf_pdgm_has_its_grades_in_its_metadata(tmp_path: Path) -> None:
    root = tmp_path / "UCSF-PDGM-v3"
    for number in ("0004", "0005"):
        for modality in ("T1", "T1_bias", "T1c", "FLAIR"):
            volume(root / f"UCSF-PDGM-{number}_nifti" / f"UCSF-PDGM-{number}_{modality}.nii.gz")
    (root / "UCSF-PDGM-metadata_v2.csv").write_text(
        "ID,Sex,WHO CNS Grade\nUCSF-PDGM-004,M,4\nUCSF-PDGM-005,F,2\n"
    )
    samples = read_samples(known("glioma_t1ce", slices=1), tmp_path)
    assert [(s.label, s.group) for s in samples] == [("grade 4", "4"), ("grade 2", "5")]
    assert samples[0].path.endswith("_T1c.nii.gz#0")


def test_files_beside_the_folders_are_not_taken_for_them(tmp_path: Path) -> None:
    touch(tmp_path / "UCSF-PDGM-metadata_v2.csv", tmp_path / "MICCAI_BraTS2020.zip")
    assert location(known("glioma_t1"), tmp_path) == tmp_path / "glioma"
    (tmp_path / "MICCAI_BraTS2020").mkdir()
    assert location(known("glioma_t1"), tmp_path) == tmp_path / "MICCAI_BraTS2020"


def clinic(root: Path, table: str) -> DatasetSpec:
    volume(root / "a.nii.gz", brightest=3)
    volume(root / "b.nii.gz", brightest=3)
    mask(root / "a_seg.nii.gz", tumour_in=6)
    (root / "volumes.csv").write_text(table)
    entry = {"name": "g", "layout": "volumes", "path": "volumes.csv", "modality": "T1"}
    return DatasetSpec.model_validate({**entry, "slices": 1})


def test_a_clinics_table_gives_the_slices_with_the_most_tumour(tmp_path: Path) -> None:
    table = "patient,modality,path,grade,mask\np1,t1,a.nii.gz,2,a_seg.nii.gz\np2,T1,b.nii.gz,3,\n"
    spec = clinic(tmp_path, table)
    samples = read_samples(spec, tmp_path)
    assert [(s.label, s.group) for s in samples] == [("2", "p1"), ("3", "p2")]
    images = source(spec, tmp_path)()
    with_mask, middle = (np.asarray(images.open(s.path)) for s in samples)
    assert with_mask.max() < 255  # slice 6, where the tumour is
    assert middle.max() == 255  # slice 3, the middle


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("patient,path,grade\np1,a.nii.gz,2\n", "no column 'modality'"),
        ("patient,modality,path,grade\np1,t2,a.nii.gz,2\n", "no row has modality 't1'"),
        ("patient,modality,path,grade\np1,t1,a.nii.gz,\n", "1 rows have no grade: row 2"),
        ("patient,modality,path,grade\np1,t1,c.nii.gz,2\n", r"row 2: .*c\.nii\.gz"),
        (
            "patient,modality,path,grade\np1,t1,a.nii.gz,2\np1,t1,b.nii.gz,3\n",
            r"group 'p1': 2 \(a\.nii\.gz#0\), 3 \(b\.nii\.gz#0\)",
        ),
    ],
)
def test_a_damaged_table_of_volumes_is_an_error(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_samples(clinic(tmp_path, table), tmp_path)


def test_a_folder_that_is_no_glioma_tree_says_which_are_known(tmp_path: Path) -> None:
    (tmp_path / "glioma_volumes").mkdir()
    with pytest.raises(DataError, match=r"volumes\.csv, BraTS .* UCSF-PDGM"):
        read_samples(known("glioma_t1"), tmp_path)


@pytest.mark.parametrize(
    ("sign", "layout"),
    [
        ("HAM10000_metadata.csv", "ham10000"),
        ("PALM-Training400/P0001.jpg", "ichallenge_pm"),
        ("Training400/AMD/A0001.jpg", "ichallenge_amd"),
        ("TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1.tif", "lgg_mri"),
        ("volumes.csv", "volumes"),
        ("HGG/x/x_t1.nii.gz", "volumes"),
        ("HGG/slice.png", "folder"),
        ("cats/1.png", "folder"),
    ],
)
def test_a_path_is_recognised_by_what_is_in_it(tmp_path: Path, sign: str, layout: str) -> None:
    touch(tmp_path / "some data" / sign)
    assert dataset_of(str(tmp_path / "some data"), tmp_path).layout == layout


def test_a_folder_with_a_known_name_is_read_as_that(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "chest_xray" / "train" / "A" / "person1_x.jpeg")
    spec = dataset_of(str(tmp_path / "elsewhere" / "chest_xray"), tmp_path)
    assert spec.group_scope == "split"
