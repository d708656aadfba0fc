"""Weights of backbones: which of a file's entries are the network's, and whether they fit."""

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from torch import nn

from sweep.backbones.formats.base import StateDict, WeightFormat
from sweep.backbones.mismatch import describe_mismatch
from sweep.errors import BackboneError, listing, shorten
from sweep.space.backbone import BackboneSpec
from sweep.space.registries import WEIGHT_FORMATS

Checkpoint = Mapping[tuple[str, ...], StateDict]

_MOST_CANDIDATES = 4
_CHANNELS = 3
_TEACHER = re.compile(r"(?:^|[._])(?:ema|teacher)(?:$|[._])")
_COPY = re.compile(r"(?:^|[._])(?:student|momentum\w*|target\w*|encoder_k|optimizer)(?:$|[._])")
# Parts that pre-training has beside the network, by the first part of their names.
_BESIDE_THE_NETWORK = re.compile(
    r"decoder\w*|mask_token|\w*head\w*|fc|classifier\w*|\w*proj|\w*projection|\w*projector|pooler"
    r"|predictor\w*|logit_scale|logit_bias|text\w*|queue\w*|prototypes\w*|criterion|loss\w*"
)


@dataclass(frozen=True)
class Weights:
    """The entries of a file under a network's names, and how well they fit it.

    Attributes:
        problems: what is missing, has another shape, or has no place in the network.
        left_out: names in the file of what pre-training has beside the network.
        spread: the layer whose weights for one channel are spread over three, if there is one.
    """

    state: StateDict
    problems: list[str]
    left_out: list[str]
    spread: str = ""


def weights_hash(trunk: nn.Module, configuration: str = "") -> str:
    """Return a hash of every weight and statistic of a model, and of its own configuration."""
    digest = hashlib.sha256(configuration.encode())
    for name, tensor in sorted(trunk.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()[:20]


def refuse_bad_numbers(trunk: nn.Module, spec: BackboneSpec) -> None:
    """Raise BackboneError if a weight is not a number."""
    bad = [name for name, item in trunk.state_dict().items() if not bool(item.isfinite().all())]
    if bad:
        raise BackboneError(
            f"backbone {spec.name}: {len(bad)} of its weights hold values that are not numbers: "
            f"{shorten(bad, 3)}; the file is damaged, or of a training that diverged"
        )


def fit_weights(
    trunk: nn.Module,
    checkpoint: Checkpoint,
    spec: BackboneSpec,
    source: str,
    heads: tuple[str, ...] = (),
) -> list[str]:
    """Load into a trunk what a checkpoint holds for it; every weight must be there and fit.

    The weights may lie in any of its state dicts, behind any prefix, in any registered format.

    Args:
        source: what was read, for messages.
        heads: layers that published weights have above the trunk.

    Returns what was left out, as notes.

    Raises:
        BackboneError: nothing in the checkpoint fits.
    """
    best: Weights | None = None
    for state, outside in _candidates(trunk, checkpoint):
        found = _match(trunk, state, outside, heads)
        if best is None or len(found.problems) < len(best.problems):
            best = found
        if not found.problems:
            break
    assert best is not None
    if best.problems:
        given = [name for state in checkpoint.values() for name in state]
        raise BackboneError(
            f"backbone {spec.name}: the weights {source} do not fit {spec.model} "
            f"({len(best.problems)} of their entries):\n{listing(best.problems, shown=5)}\n"
            f"{describe_mismatch(given, list(trunk.state_dict()))}\n"
            "Name the model that these weights belong to, or other weights."
        )
    trunk.load_state_dict(best.state, strict=False)
    notes = [_describe_left_out(spec, source, best.left_out)] if best.left_out else []
    if best.spread:
        notes.append(
            f"backbone {spec.name}: {source} is of a network for images of one channel; a third of "
            f"{best.spread} goes to each of red, green and blue, which is the same on grey images "
            "if mean and std have three equal numbers"
        )
    return notes


def _candidates(trunk: nn.Module, checkpoint: Checkpoint) -> Iterator[tuple[StateDict, list[str]]]:
    """Yield converted state dicts and the names that each leaves aside, the likeliest first."""
    own = set(trunk.state_dict())
    largest = max(checkpoint, key=lambda keys: len(checkpoint[keys]))
    found = []
    for keys, state in checkpoint.items():
        aside = [
            ".".join((*others, n))
            for others in checkpoint
            if others != keys
            for n in checkpoint[others]
        ]
        if keys in {(), ("model",), ("state_dict",), largest}:
            # timm's filters know layouts of their own, by names before anything is renamed.
            found.append((_rank(keys, ""), len(own) + 1, dict(state), aside))
        for prefix, weight_format in _layouts(own, state):
            inside = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            if weight_format is not None:
                inside = weight_format.convert(inside, trunk)
            missing = len(own - set(inside))
            if missing * 2 <= len(own):
                outside = aside + [name for name in state if not name.startswith(prefix)]
                found.append((_rank(keys, prefix), missing, inside, outside))
    found.sort(key=lambda item: item[:2])
    for _, _, converted, outside in found[: _MOST_CANDIDATES + 1]:
        yield converted, outside


def _rank(keys: tuple[str, ...], prefix: str) -> int:
    """Rank copies of a network: what a teacher has learnt is what its authors use."""
    place = ".".join((*keys, prefix)).lower()
    if _TEACHER.search(place):
        return 0
    return 2 if _COPY.search(place) else 1


def _layouts(own: set[str], state: StateDict) -> Iterator[tuple[str, WeightFormat | None]]:
    """Yield prefixes behind which a network may lie, and the format that it may be in."""
    for weight_format in WEIGHT_FORMATS.items().values():
        signs = [re.search(rf"(?:^|(?<=\.)){weight_format.sign}", name) for name in state]
        for prefix in dict.fromkeys(sign.string[: sign.start()] for sign in signs if sign):
            yield prefix, weight_format
    prefixes: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for place in range(len(parts)):
            if ".".join(parts[place:]) in own:
                prefixes[".".join((*parts[:place], ""))] += 1
    for prefix, _ in prefixes.most_common(_MOST_CANDIDATES):
        yield prefix, None


def _match(
    trunk: nn.Module, state: StateDict, outside: list[str], heads: tuple[str, ...]
) -> Weights:
    given = list(state)
    adapt = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    if adapt is not None:  # timm renames tensors and resizes position embeddings
        with suppress(Exception):  # the filter assumes that the tensors belong to the model
            state = adapt(dict(state), trunk)
    own = trunk.state_dict()
    spread = _first_of_one_channel(state, own)
    if spread:
        state = {**state, spread: state[spread].expand_as(own[spread]) / _CHANNELS}
    problems = [f"{name} is missing" for name in own if name not in state]
    problems = [text for text in problems if "num_batches_tracked" not in text]
    beside = [name for name in given if _is_beside(name, own, heads)]
    for name, tensor in state.items():
        if name in own:
            if tensor.shape != own[name].shape:
                problems.append(f"{name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}")
        elif not _is_head(name, heads) and not _is_beside(name, own, heads):
            problems.append(f"{name} is not part of the model")
    return Weights({n: state[n] for n in own if n in state}, problems, outside + beside, spread)


def _first_of_one_channel(state: StateDict, own: StateDict) -> str:
    """Return the convolution that has weights for one channel where the trunk's is for three."""
    for name, item in own.items():
        if item.ndim == 4 and name in state:
            wanted, given = item.shape, state[name].shape
            of_one = given == (wanted[0], 1, *wanted[2:])
            return name if of_one and wanted[1] == _CHANNELS else ""
    return ""


def _is_head(name: str, heads: tuple[str, ...]) -> bool:
    return any(name.startswith(f"{head}.") for head in heads)


def _is_beside(name: str, own: StateDict, heads: tuple[str, ...]) -> bool:
    part = name.split(".", maxsplit=1)[0]
    known = _BESIDE_THE_NETWORK.fullmatch(part) is not None
    return known and name not in own and not _is_head(name, heads)


def _describe_left_out(spec: BackboneSpec, source: str, names: list[str]) -> str:
    parts = Counter(name.split(".")[0] for name in names)
    listed = [f"{part} ({count} entries)" if count > 1 else part for part, count in parts.items()]
    return f"backbone {spec.name}: left out of {source}: {shorten(listed, 6)}"
