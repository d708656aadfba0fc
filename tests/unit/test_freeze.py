"""Exactly the right parameters learn in a step, whichever timm model it is."""

from functools import lru_cache

import pytest
import torch
from torch import nn

from sweep.backbones.backbone import Network, load_backbone
from sweep.backbones.trainable import count_trainable, freeze, set_training
from sweep.errors import BackboneError
from sweep.space.backbone import BackboneSpec

MODELS = {
    "vgg16": 32,
    "resnet50": 32,
    "densenet121": 32,
    "vit_small_patch14_dinov2": 28,
    "tf_efficientnet_lite0": 32,
    "convnext_atto": 32,
}
MODES = ["frozen", "full", "last:1", "last:2", "norm", "bias"]
# VGG16 has no norm layers.
PAIRS = [(model, mode) for model in MODELS for mode in MODES if (model, mode) != ("vgg16", "norm")]
NORMS = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


@lru_cache(maxsize=1)
def _backbone(model: str, size: int):
    kwargs = {"mlp_ratio": 0.01} if model == "vgg16" else {}  # its hidden layers are the most of it
    entry = {"name": "b", "model": model, "weights": "none", "kwargs": kwargs}
    return load_backbone(BackboneSpec.model_validate(entry), size, None)


def stepped(model: str, mode: str) -> tuple[Network, dict[str, torch.Tensor]]:
    """Return a network after one training step, and its state before it."""
    size = MODELS[model]
    network = _backbone(model, size).network(2, 0)
    with torch.no_grad():  # timm starts some scales at zero, and nothing flows through them
        for parameter in network.parameters():
            parameter.add_(0.01)
    freeze(network, mode)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learning = [p for p in network.parameters() if p.requires_grad]
    # Weight decay moves even a parameter whose gradient happens to be zero.
    optimizer = torch.optim.AdamW(learning, lr=0.01, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, size, size, generator=generator)
    set_training(network)
    nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 0, 1])).backward()
    optimizer.step()
    return network, before


def changed(network: Network, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}


def expected(network: Network, mode: str) -> set[str]:
    names = {name for name, _ in network.named_parameters()}
    head = {"head.weight", "head.bias"}
    if mode == "frozen":
        return head
    if mode == "full":
        return names
    if mode == "bias":
        return head | {name for name in names if name.endswith("bias")}
    norms = {
        f"{prefix}.{name}"
        for prefix, module in network.named_modules()
        if isinstance(module, NORMS) or type(module).__name__.endswith(("NormAct2d", "LayerNorm2d"))
        for name, _ in module.named_parameters(recurse=False)
    }
    return head | norms


@pytest.mark.parametrize(("model", "mode"), [pair for pair in PAIRS if "last" not in pair[1]])
def test_exactly_the_parameters_of_the_mode_change_in_a_step(model: str, mode: str) -> None:
    network, before = stepped(model, mode)
    assert changed(network, before) == expected(network, mode)


@pytest.mark.parametrize("model", MODELS)
def test_last_k_learns_the_deepest_blocks_and_more_with_a_larger_k(model: str) -> None:
    one, before_one = stepped(model, "last:1")
    two, before_two = stepped(model, "last:2")
    first, second = changed(one, before_one), changed(two, before_two)
    assert {"head.weight", "head.bias"} < first < second
    order = [name for name, _ in one.trunk.named_parameters()]
    learning = {name.removeprefix("trunk.") for name in second if name.startswith("trunk.")}
    frozen_matrices = [
        n for n in order if n not in learning and one.trunk.get_parameter(n).ndim > 1
    ]
    deepest = max(order.index(name) for name in frozen_matrices)
    assert all(order.index(n) > deepest for n in learning if one.trunk.get_parameter(n).ndim > 1)


@pytest.mark.parametrize("model", ["resnet50", "densenet121", "tf_efficientnet_lite0"])
@pytest.mark.parametrize("mode", MODES)
def test_batch_norm_statistics_move_in_the_layers_that_learn_alone(model: str, mode: str) -> None:
    network, before = stepped(model, mode)
    after = network.state_dict()
    for name, module in network.named_modules():
        if not isinstance(module, nn.BatchNorm2d):
            continue
        moved = not torch.equal(after[f"{name}.running_mean"], before[f"{name}.running_mean"])
        learns = all(p.requires_grad for p in module.parameters())
        assert moved == (learns and mode != "bias"), name


@pytest.mark.parametrize(("model", "mode"), PAIRS)
def test_the_number_of_learning_parameters_is_what_requires_a_gradient(
    model: str, mode: str
) -> None:
    network = _backbone(model, MODELS[model]).network(2, 0)
    freeze(network, mode)
    assert count_trainable(network, mode) == sum(
        p.numel() for p in network.parameters() if p.requires_grad
    )


def test_frozen_vgg16_learns_one_linear_layer() -> None:
    network = _backbone("vgg16", 32).network(2, 0)
    assert count_trainable(network, "frozen") == (4096 + 1) * 2


def test_more_blocks_than_there_are_is_an_error() -> None:
    network = _backbone("convnext_atto", 32).network(2, 0)
    with pytest.raises(BackboneError, match="use last:1 to last:"):
        freeze(network, "last:99")


def test_norm_of_a_network_without_norm_layers_is_refused() -> None:
    network = _backbone("vgg16", 32).network(2, 0)
    with pytest.raises(BackboneError, match="VGG has no norm layers; use frozen"):
        freeze(network, "norm")
