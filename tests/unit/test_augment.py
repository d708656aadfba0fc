"""Augmentation of a batch: torchvision's geometry, a draw for each image, no forbidden flip."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from sweep.train.augment import AUGMENTATIONS, Augmentation, _matrices, augment, warp

NOTHING = Augmentation(degrees=0, shift=0, zoom=0, brightness=0, contrast=0, saturation=0)


def images(count: int = 3, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def matrix(angle: float, scale: float, across: float, down: float) -> Tensor:
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    return torch.tensor([[[cosine, -sine, across], [sine, cosine, down]]])


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1.0), (17, 1.0), (90, 1.0), (-30, 1.2)])
def test_a_warp_is_torchvisions_affine(degrees: float, scale: float) -> None:
    given = images(1)
    found = warp(given, matrix(math.radians(degrees), scale, 0, 0))
    wanted = functional.affine(
        given, -degrees, [0, 0], scale, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR
    )
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)


def test_a_shift_of_half_the_image_moves_it_by_half() -> None:
    given = images(1)
    found = warp(given, matrix(0, 1, 1.0, 0))
    torch.testing.assert_close(found[..., :16], given[..., 16:], atol=1e-5, rtol=0)
    assert not found[..., 17:].any()


def test_nothing_drawn_is_nothing_changed() -> None:
    torch.testing.assert_close(augment(images(), NOTHING), images(), atol=1e-5, rtol=0)


def test_a_certain_flip_mirrors_every_image() -> None:
    found = augment(images(), Augmentation(**{**vars(NOTHING), "mirror": 1.0}))
    torch.testing.assert_close(found, images().flip(3), atol=1e-5, rtol=0)


def test_each_image_has_its_own_draw_and_a_seed_repeats_it() -> None:
    same = images(1).repeat(4, 1, 1, 1)
    torch.manual_seed(3)
    first = augment(same, AUGMENTATIONS["light"])
    assert not torch.allclose(first[0], first[1])
    torch.manual_seed(3)
    assert torch.equal(augment(same, AUGMENTATIONS["light"]), first)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_what_is_drawn_is_within_bounds_and_mirrors_only_where_it_may(name: str) -> None:
    how = AUGMENTATIONS[name]
    matrices = _matrices(2000, how, images(1))
    flips = torch.linalg.det(matrices[:, :, :2]) < 0
    expected = how.mirror * (1 - how.upend) + how.upend * (1 - how.mirror)
    assert float(flips.float().mean()) == pytest.approx(expected, abs=0.05)
    scale = torch.linalg.det(matrices[:, :, :2]).abs().sqrt()
    assert bool(((scale >= 1 / (1 + how.zoom) - 1e-4) & (scale <= 1 / (1 - how.zoom) + 1e-4)).all())
    assert float(matrices[:, :, 2].abs().max()) <= 2 * how.shift + 1e-6
    if name in {"xray", "mri"}:
        assert not flips.any()
