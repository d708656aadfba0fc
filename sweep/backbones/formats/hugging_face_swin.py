"""Hugging Face's Swin."""

import re

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, fuse_qkv, rename
from sweep.space.registries import WEIGHT_FORMATS

_RULES = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.layers\.", "layers."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    # As published, and as transformers 5 calls them in memory.
    (r"\.attention\.self\.(q|k|v)(?:uery|ey|alue)\.|\.attention\.(q|k|v)_proj\.", r".attn.\1\2."),
    (r"\.attention\.(?:self\.)?(?:relative_position_bias\.)?(relative_position_bias_table)$",
     r".attn.\1"),
    (r"\.attention\.output\.dense\.|\.attention\.o_proj\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)  # fmt: skip


class HuggingFaceSwin(WeightFormat):
    """Query, key and value are apart; a stage ends with what timm's next stage begins with."""

    title = "Hugging Face's Swin"
    sign = r"encoder\.layers\.0\.blocks\.0\.layernorm_before\.weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Rename, join query, key and value, and move the merging of patches to the next stage."""
        known = {n: t for n, t in state.items() if not n.endswith("relative_position_index")}
        found = fuse_qkv(rename(known, _RULES))
        return {_next_stage(name): tensor for name, tensor in found.items()}


def _next_stage(name: str) -> str:
    def next_one(found: re.Match[str]) -> str:
        return f"layers.{int(found[1]) + 1}.downsample."

    return re.sub(r"^layers\.(\d+)\.downsample\.", next_one, name)


WEIGHT_FORMATS.register("hugging_face_swin", HuggingFaceSwin())
