"""Weights of backbones: reading files of them, and whether they fit their network."""

import hashlib
import sys
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from sweep.backbones.mismatch import describe_mismatch
from sweep.base import checksums
from sweep.base.lfs import refuse_pointer
from sweep.errors import BackboneError, listing, shorten
from sweep.space.specs import BackboneSpec

StateDict = dict[str, Tensor]


def weights_hash(trunk: nn.Module) -> str:
    """Return a hash of every weight and statistic of a model."""
    digest = hashlib.sha256()
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


def read_weights(file: Path, spec: BackboneSpec) -> StateDict:
    """Read a safetensors file; raises BackboneError if it is damaged, or not what was pulled."""
    checksums.verify(file)
    with file.open("rb") as opened:
        head = opened.read(64)
    try:
        refuse_pointer(head)
        return load_file(file)
    except Exception as error:
        raise BackboneError(
            f"backbone {spec.name}: {file} is not a readable safetensors file: {error}"
        ) from None


def fit_weights(
    trunk: nn.Module, state: StateDict, spec: BackboneSpec, source: str, heads: tuple[str, ...] = ()
) -> nn.Module:
    """Load `state` into `trunk`; every weight must be there and fit.

    Args:
        source: what they were read from, for messages.
        heads: layers that the state may have above the trunk.
    """
    given = state
    adapt = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    if adapt is not None:  # timm renames tensors and resizes position embeddings
        try:
            state = adapt(dict(state), trunk)
        except Exception:  # the filter assumes that the tensors belong to the model
            state = given
    own = trunk.state_dict()
    problems = [f"{name} is missing" for name in own if name not in state]
    problems = [text for text in problems if "num_batches_tracked" not in text]
    for name, tensor in state.items():
        if name in own and tensor.shape != own[name].shape:
            problems.append(f"{name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}")
        elif name not in own and not any(name.startswith(f"{head}.") for head in heads):
            problems.append(f"{name} is not part of the model")
    if problems:
        raise BackboneError(
            f"backbone {spec.name}: the weights {source} do not fit {spec.model} "
            f"({len(problems)} of their entries):\n{listing(problems, shown=5)}\n"
            f"{describe_mismatch(list(given), list(own))}\n"
            "Name the model that these weights belong to, or other weights."
        )
    trunk.load_state_dict({name: state[name] for name in own if name in state}, strict=False)
    return trunk
