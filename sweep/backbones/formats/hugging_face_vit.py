"""Hugging Face's ViTModel, with which ViTMAE, DINO and many others are published."""

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, fuse_qkv, rename
from sweep.backbones.formats.mae import with_final_norm
from sweep.space.registries import WEIGHT_FORMATS

_RULES = (
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.", ""),
    (r"^(?:encoder\.layer|layers)\.", "blocks."),
    # As published, and as transformers 5 calls them in memory.
    (r"\.attention\.attention\.(q|k|v)\w+\.|\.attention\.(q|k|v)_proj\.", r".attn.\1\2."),
    (r"\.attention\.output\.dense\.|\.attention\.o_proj\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^layernorm\.", "norm."),
)


class HuggingFaceViT(WeightFormat):
    """Query, key and value are apart; norms are called before and after."""

    title = "Hugging Face's ViTModel"
    sign = r"(?:encoder\.layer|layers)\.0\.layernorm_before\.weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Rename, and join query, key and value."""
        return with_final_norm(fuse_qkv(rename(state, _RULES)), trunk)


WEIGHT_FORMATS.register("hugging_face_vit", HuggingFaceViT())
