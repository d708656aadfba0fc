"""The vision transformer of OpenAI's CLIP and of open_clip, where it is not timm's.

Towers that are timm's, such as BiomedCLIP's, have timm's names behind ``visual.trunk.``.
"""

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, as_tokens, rename
from sweep.space.registries import WEIGHT_FORMATS

_RULES = (
    (r"^conv1\.", "patch_embed.proj."),
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)


class OpenClip(WeightFormat):
    """``visual.transformer.resblocks``, with query, key and value in one matrix."""

    title = "the vision transformer of CLIP"
    sign = r"transformer\.resblocks\.0\.ln_1\.weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Rename, and give embeddings timm's shapes."""
        return as_tokens(rename(state, _RULES))


WEIGHT_FORMATS.register("open_clip", OpenClip())
