"""The vision towers of Hugging Face's CLIP and SigLIP models, as MedSigLIP is published."""

import torch
from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, as_tokens, fuse_qkv, rename
from sweep.space.registries import WEIGHT_FORMATS

_RULES = (
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.self_attn\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.in_proj_", "attn_pool.in_proj."),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
)


class HuggingFaceClip(WeightFormat):
    """A class token and a norm before the blocks in CLIP; pooling by attention in SigLIP."""

    title = "the vision tower of Hugging Face's CLIP or SigLIP"
    sign = r"encoder\.layers\.0\.self_attn\.q_proj\.weight$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Rename, join query, key and value, and give embeddings timm's shapes."""
        found = as_tokens(fuse_qkv(rename(state, _RULES)))
        for part in ("weight", "bias"):
            if (joined := found.pop(f"attn_pool.in_proj.{part}", None)) is not None:
                query, key, value = joined.chunk(3)
                found[f"attn_pool.q.{part}"] = query
                found[f"attn_pool.kv.{part}"] = torch.cat([key, value])
        return found


WEIGHT_FORMATS.register("hugging_face_clip", HuggingFaceClip())
