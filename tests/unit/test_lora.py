"""Updates of low rank: what learns, what they add, and that merging changes nothing."""

import copy

import pytest
import torch
from torch import nn

from sweep.backbones.backbone import Network, bare_network, load_backbone
from sweep.backbones.low_rank import merged_state
from sweep.backbones.trainable import count_trainable, freeze, set_training
from sweep.errors import BackboneError
from sweep.space.backbone import BackboneSpec

MODELS = {
    "test_vit": 160,
    "vit_small_patch16_dinov3_qkvb": 64,  # it reads the weight of its queries without calling them
    "convnext_atto": 64,
    "tf_efficientnet_lite0": 64,
}


def spec(model: str) -> BackboneSpec:
    kwargs = {"depth": 2} if "dinov3" in model else {}
    entry = {"name": "b", "model": model, "weights": "none", "kwargs": kwargs}
    return BackboneSpec.model_validate(entry)


def trained(model: str, steps: int = 2) -> tuple[Network, Network]:
    """Return a network after some steps with lora:4, and a copy from before."""
    size = MODELS[model]
    network = load_backbone(spec(model), size, None).network(2, 0)
    with torch.no_grad():
        for name, item in network.trunk.named_parameters():
            if "gamma" in name:  # else so small that nothing flows through the blocks
                item.fill_(1.0)
    torch.manual_seed(0)
    before = copy.deepcopy(network).eval()
    freeze(network, "lora:4")
    set_training(network)
    learning = [item for item in network.parameters() if item.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=0.01)
    images = torch.randn(4, 3, size, size)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()
    return network.eval(), before


@pytest.mark.parametrize("model", MODELS)
def test_a_new_update_changes_nothing(model: str) -> None:
    network, before = trained(model, steps=0)
    images = torch.randn(2, 3, MODELS[model], MODELS[model])
    with torch.no_grad():
        torch.testing.assert_close(network(images), before(images))


@pytest.mark.parametrize("model", MODELS)
def test_the_trunks_own_parameters_stay_and_its_features_change(model: str) -> None:
    network, before = trained(model)
    own = dict(network.trunk.named_parameters())
    for name, parameter in before.trunk.named_parameters():
        layer, _, kind = name.rpartition(".")
        found = own.get(name)
        if found is None:
            found = own[f"{layer}.parametrizations.{kind}.original"]
        assert torch.equal(found, parameter), name
    images = torch.randn(2, 3, MODELS[model], MODELS[model])
    with torch.no_grad():
        assert not torch.equal(network.trunk(images), before.trunk(images))


@pytest.mark.parametrize("model", MODELS)
def test_merging_keeps_the_output_and_gives_back_the_names(model: str) -> None:
    network, plain = trained(model)
    assert merged_state(plain) is None
    state = merged_state(network)
    assert state is not None
    plain.load_state_dict(state)
    images = torch.randn(2, 3, MODELS[model], MODELS[model])
    with torch.no_grad():
        torch.testing.assert_close(plain(images), network(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model", ["test_vit", "convnext_atto"])
def test_as_many_numbers_learn_as_in_peft(model: str) -> None:
    peft = pytest.importorskip("peft")
    plain = load_backbone(spec(model), MODELS[model], None).network(2, 0)
    layers = [
        name
        for name, module in plain.trunk.named_modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
    ]
    theirs = peft.get_peft_model(
        copy.deepcopy(plain.trunk), peft.LoraConfig(r=4, target_modules=layers)
    )
    wanted = sum(item.numel() for item in theirs.parameters() if item.requires_grad)
    head = sum(item.numel() for item in plain.head.parameters())
    assert count_trainable(bare_network(spec(model), MODELS[model], 2), "lora:4") == wanted + head


def test_a_network_without_matrices_is_refused() -> None:
    network = load_backbone(spec("test_resnet"), 64, None).network(2, 0)
    network.trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    with pytest.raises(BackboneError, match=r"no linear layers and no convolutions of 1x1"):
        freeze(network, "lora:2")
