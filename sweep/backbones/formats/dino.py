"""Checkpoints of DINO's and DINOv2's training: teacher and student, blocks in chunks."""

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, rename
from sweep.space.registries import WEIGHT_FORMATS


class Dino(WeightFormat):
    """The names of DINOv2's sharded training, in which ``blocks.1.7`` is the block 7."""

    title = "a checkpoint of DINOv2's training"
    sign = r"blocks\.\d+\.\d+\.norm1\.weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Number the blocks across the chunks, as they are numbered within."""
        return with_registers(rename(state, [(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.")]), trunk)


def with_registers(state: StateDict, trunk: nn.Module) -> StateDict:
    """Return DINOv2's own names under timm's, where registers and the class token have no position.

    As timm's own filter does it, which needs a mask token as a sign.
    """
    state = {name: tensor for name, tensor in state.items() if name != "mask_token"}
    if "register_tokens" not in state or not getattr(trunk, "no_embed_class", False):
        return state
    positions = state["pos_embed"]
    state["reg_token"] = state.pop("register_tokens")
    state["cls_token"] = state["cls_token"] + positions[:, :1]
    state["pos_embed"] = positions[:, 1:]
    return state


WEIGHT_FORMATS.register("dino", Dino())
