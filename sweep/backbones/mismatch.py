"""Why weights do not fit a network: a prefix, a head, a decoder, another depth."""

import re
from collections import Counter
from collections.abc import Sequence

_SHOWN = 4
_PARTS = {
    "decoder": "a decoder, as of a masked autoencoder",
    "mask_token": "a mask token, as of pre-training",
    "head": "a classifier of its own",
    "fc": "a classifier of its own",
    "classifier": "a classifier of its own",
    "optimizer": "an optimizer's state",
    "text": "a text encoder, as of CLIP",
    "projection": "a projection head, as of contrastive learning",
    "projector": "a projection head, as of contrastive learning",
}


# What a vision transformer of timm is built with, to have what some files hold.
_KWARGS = (
    (r"\.ls\d\.gamma$", "It has layer scales: write kwargs: {init_values: 1.0e-5}."),
    (r"(^|\.)fc_norm\.", "It normalises after mean pooling: write kwargs: {global_pool: avg}."),
    (r"(^|\.)norm_pre\.", "It normalises before its blocks, as CLIP does: name a CLIP model."),
    (r"(^|\.)(reg_token|register_tokens|storage_tokens)$", "It has registers: name such a model."),
)


def describe_mismatch(given: Sequence[str], wanted: Sequence[str]) -> str:
    """Say what a file of weights holds and what the network wants, and the likely reason.

    Args:
        given: names of the file's entries.
        wanted: names of the network's.
    """
    lines = [
        f"The file has {len(given)} entries, such as {_some(given)}; the model wants "
        f"{len(wanted)}, such as {_some(wanted)}."
    ]
    if reason := _prefix(given, wanted) or _prefix_of_model(given, wanted):
        lines.append(reason)
    extra = set(given) - set(wanted)
    for part, what in _PARTS.items():
        holding = [name for name in extra if part in re.split(r"[._]", name)]
        if holding:
            lines.append(f"It holds {what} ({min(holding)}).")
    if reason := _depth(given, wanted):
        lines.append(reason)
    lines += [
        text for pattern, text in _KWARGS if _has(given, pattern) and not _has(wanted, pattern)
    ]
    return "\n".join(lines)


def _has(names: Sequence[str], pattern: str) -> bool:
    return any(re.search(pattern, name) for name in names)


def _some(names: Sequence[str]) -> str:
    step = max(1, len(names) // _SHOWN)
    return ", ".join(names[::step][:_SHOWN])


def _prefix(given: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Find what stands before the model's names in the file."""
    names = set(wanted)
    if len(names & set(given)) * 2 > len(names):
        return None
    found: Counter[str] = Counter()
    for name in given:
        parts = name.split(".")
        for place in range(1, len(parts)):
            if ".".join(parts[place:]) in names:
                found[".".join(parts[:place])] += 1
                break
    if not found:
        return None
    prefix, count = found.most_common(1)[0]
    if count * 2 < len(names):
        return None
    return f"{count} of its names begin with {prefix + '.'!r}: take that away, and they fit."


def _prefix_of_model(given: Sequence[str], wanted: Sequence[str]) -> str | None:
    if (problem := _prefix(wanted, given)) is None:
        return None
    prefix = problem.partition("begin with ")[2].partition(":")[0]
    return f"The model's names begin with {prefix}, and those of the file do not."


def _depth(given: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Compare how many numbered blocks there are."""

    def blocks(names: Sequence[str]) -> int:
        numbers = [
            int(n) for name in names for n in re.findall(r"(?:blocks|layers?)\.(\d+)\.", name)
        ]
        return 1 + max(numbers, default=-1)

    there, here = blocks(given), blocks(wanted)
    if there == here or not there or not here:
        return None
    return f"It has {there} blocks, and the model {here}: a network of another depth."
