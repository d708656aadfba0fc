"""Masked autoencoders' own checkpoints, and RETFound's: an encoder with a decoder beside it."""

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat
from sweep.space.registries import WEIGHT_FORMATS


class Mae(WeightFormat):
    """The encoder has timm's names; the decoder and the mask token are left out."""

    title = "a masked autoencoder's checkpoint"
    sign = r"decoder_embed\.weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Take the encoder's last norm for the one that the trunk applies after pooling."""
        return with_final_norm(state, trunk)


def with_final_norm(state: StateDict, trunk: nn.Module) -> StateDict:
    """Return the last norm as ``fc_norm``, where the trunk pools first and normalises then.

    MAE's fine-tuning begins with a new norm there; the one that was learnt is nearer to it.
    """
    own = dict(trunk.named_parameters())
    if "fc_norm.weight" not in own or "fc_norm.weight" in state or "norm.weight" in own:
        return state
    return {
        (f"fc_{name}" if name.startswith("norm.") else name): item for name, item in state.items()
    }


WEIGHT_FORMATS.register("mae", Mae())
