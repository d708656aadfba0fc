"""Hugging Face's DINOv3ViTModel, as Meta publishes DINOv3."""

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat, fuse_qkv, rename
from sweep.space.registries import WEIGHT_FORMATS

_RULES = (
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.", ""),
    (r"^(?:model\.)?layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".gamma_\1"),
    (r"\.mlp\.gate_proj\.", ".mlp.fc1_g."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)


class HuggingFaceDinov3(WeightFormat):
    """Query, key and value are apart; keys have no bias; positions are rotations."""

    title = "Hugging Face's DINOv3ViTModel"
    sign = r"(?:model\.)?layer\.0\.layer_scale1\.lambda1$"

    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Rename, and join query, key and value as the trunk has them.

        timm's models without a bias of the queries are those whose published bias is 0.
        """
        gated = any(".mlp.gate_proj." in name for name in state)
        up = (r"\.mlp\.up_proj\.", ".mlp.fc1_x." if gated else ".mlp.fc1.")
        renamed = rename(state, (*_RULES, up))
        own = dict(trunk.named_parameters())
        for name in [name for name in renamed if name.endswith((".attn.q.bias", ".attn.v.bias"))]:
            apart = name.replace(".q.bias", ".q_bias").replace(".v.bias", ".v_bias")
            if apart in own:
                renamed[apart] = renamed.pop(name)
            elif _fused(name) not in own and not bool(renamed[name].any()):
                del renamed[name]
        renamed.pop("mask_token", None)
        return fuse_qkv(renamed)


def _fused(name: str) -> str:
    return name.replace(".q.", ".qkv.").replace(".v.", ".qkv.")


WEIGHT_FORMATS.register("hugging_face_dinov3", HuggingFaceDinov3())
