"""What a weight format is: names, and sometimes shapes, other than those of the model."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

StateDict = dict[str, Tensor]
Rules = Iterable[tuple[str, str]]

_QKV = re.compile(r"(.+\.attn)\.([qkv])\.(weight|bias)")


class WeightFormat(ABC):
    """A layout in which weights are published.

    Attributes:
        title: what it is called, for people.
        sign: a regular expression that matches one of its names; whatever stands before the match
            is a prefix, which is taken away from all names before they are converted.
    """

    title: str
    sign: str

    @abstractmethod
    def convert(self, state: StateDict, trunk: nn.Module) -> StateDict:
        """Return the weights under the names of a trunk.

        Entries that it does not know keep their names.
        """


def rename(state: Mapping[str, Tensor], rules: Rules) -> StateDict:
    """Apply to each name, in their order, all rules: (regular expression, replacement)."""
    renamed = {}
    for name, tensor in state.items():
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        renamed[new] = tensor
    return renamed


def by_number(name: str) -> list[tuple[bool, int, str]]:
    """Return what sorts names in which numbers count as numbers: 2 before 10."""
    parts = name.split(".")
    return [(p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts]


def as_tokens(state: StateDict) -> StateDict:
    """Give the class token and the positions timm's shapes, (1, 1, D) and (1, L, D)."""
    tokens = {name: state[name] for name in ("cls_token", "pos_embed") if name in state}
    width = {name: tensor.shape[-1] for name, tensor in tokens.items()}
    return {**state, **{name: t.reshape(1, -1, width[name]) for name, t in tokens.items()}}


def fuse_qkv(state: StateDict) -> StateDict:
    """Join ``attn.q``, ``attn.k`` and ``attn.v`` into ``attn.qkv``; a missing bias counts as 0."""
    fused: StateDict = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        found = _QKV.fullmatch(name)
        if found is None:
            fused[name] = tensor
        else:
            parts.setdefault(f"{found[1]}.qkv.{found[3]}", {})[found[2]] = tensor
    for name, part in parts.items():
        zero = torch.zeros_like(next(iter(part.values())))
        fused[name] = torch.cat([part.get(letter, zero) for letter in "qkv"])
    return fused
