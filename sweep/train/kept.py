"""The models that confirmations of a cell have kept: loading them again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sweep.backbones.backbone import Network, preprocessing
from sweep.backbones.families.base import Preprocessing, family_of
from sweep.backbones.tokens import use_features
from sweep.errors import DamagedError, SweepError
from sweep.space.backbone import BackboneSpec
from sweep.space.freeze import freeze_mode
from sweep.space.specs import MULTILABEL
from sweep.train.neighbors import KNNHead, PrototypeHead

StateDict = dict[str, Tensor]

# Heads that are no linear layer, by the name that a freeze mode gives.
_OTHER_HEADS: dict[str, type[KNNHead | PrototypeHead]] = {
    "nearest_neighbors": KNNHead,
    "prototypes": PrototypeHead,
}


@dataclass(frozen=True)
class KeptModel:
    """A confirmed model, ready to predict.

    Attributes:
        network: normalised images (B, 3, S, S) -> logits (B, C), in eval mode; its temperature is
            in its head.
        classes: their names, in the order of the logits.
        image_size: S.
        folder: where its files are.
        about: what ``model.json`` says.
    """

    network: Network
    classes: list[str]
    image_size: int
    preprocessing: Preprocessing
    folder: Path
    about: dict[str, Any]

    @property
    def target(self) -> str:
        """What the labels of its data set are: classes, or any of several labels."""
        return str(self.about.get("target", "multiclass"))

    @property
    def calibrated(self) -> bool:
        """Whether its logits are divided by a temperature."""
        return "temperature" in self.about

    @property
    def temperature(self) -> float:
        """By what its logits are divided."""
        return float(self.about.get("temperature", 1.0))


# What is said of a kept model that holds for it as a classifier, too.
_DESCRIPTION = (
    "classes", "image_size", "interpolation", "jpeg_draft", "crop", "positive", "target",
)  # fmt: skip


class Classifier(nn.Module):
    """A kept model as it is used elsewhere: RGB images (B, 3, S, S) from 0 to 1 -> (B, C).

    Attributes:
        description: its classes, and what is to be done with a picture before it, which is less
            than before the kept model, as a classifier standardises its images itself.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: KeptModel) -> None:
        super().__init__()
        self.network, self.target = model.network, model.target
        for name in ("mean", "std"):
            values = torch.tensor(getattr(model.preprocessing, name))
            self.register_buffer(name, values[:, None, None])
        about = model.about
        self.description = {key: about[key] for key in _DESCRIPTION if key in about}
        self.description["resize"] = model.preprocessing.resizing
        self.description["standardize"] = "by the model itself"

    def forward(self, images: Tensor) -> Tensor:
        """Return the class probabilities (B, C), or those of each label."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits.sigmoid() if self.target == MULTILABEL else logits.softmax(dim=1)


def load_kept(folder: Path, backbone: BackboneSpec, mode: str) -> KeptModel:
    """Load a kept model from its folder.

    Args:
        backbone: the entry of its cell, with the features that the kept head was trained on.
        mode: the freeze mode of its cell.

    Raises:
        DamagedError: its files are not there, cannot be read, or are of another model.
        BackboneError: the backbone cannot be made here.
    """
    path = folder / "model.json"
    try:
        about = json.loads(path.read_text("utf-8"))
        path = folder / "model.safetensors"
        state = load_file(path)
        size, classes = int(about["image_size"]), [str(name) for name in about["classes"]]
        network = _network(state, about, backbone, mode)
    except SweepError:  # the backbone itself cannot be made here
        raise
    except Exception as error:  # readers raise many kinds of errors on damaged files
        raise DamagedError(path, f"cannot be loaded ({type(error).__name__})") from error
    return KeptModel(network.eval(), classes, size, preprocessing(backbone), folder, about)


def _network(state: StateDict, about: dict[str, Any], backbone: BackboneSpec, mode: str) -> Network:
    size = int(about["image_size"])
    trunk = family_of(backbone).build(backbone, size)
    own = {name: state.pop(name) for name in trunk.state_dict()}
    trunk.load_state_dict(own)
    use_features(trunk, backbone)
    head = _head(state, about, mode)
    network = Network(trunk, 1, len(about["classes"]))
    network.head = head
    return network


def _head(state: StateDict, about: dict[str, Any], mode: str) -> nn.Module:
    """Make the head of what a file holds besides the trunk."""
    if "head" in about:
        buffers = {name.removeprefix("head."): item for name, item in state.items()}
        return _OTHER_HEADS[freeze_mode(mode)[0].head].restored(about["head"], buffers)
    by_end = {name.rpartition(".")[2]: item for name, item in state.items()}
    weight_CD, bias_C = by_end["weight"], by_end["bias"]
    head = nn.Linear(weight_CD.shape[1], weight_CD.shape[0])
    with torch.no_grad():
        head.weight.copy_(weight_CD)
        head.bias.copy_(bias_C)
    return head
