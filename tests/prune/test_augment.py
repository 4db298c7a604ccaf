"""Random changes of training images."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_cases import net, options, task_of
from torch import Tensor

from crisp_loop.prune.training.augment import AUGMENTATIONS, flip_shift
from crisp_loop.prune.training.prune import prune_model


def all_crops(image: Tensor) -> list[Tensor]:
    """Every mirror and shift by up to an eighth of the sides, zeros coming in."""
    channels, height, width = image.shape
    down, right = height // 8, width // 8
    found = []
    for mirror, dy, dx in itertools.product(
        (False, True), range(-down, down + 1), range(-right, right + 1)
    ):
        crop = torch.zeros_like(image)
        for c, y, x in itertools.product(range(channels), range(height), range(width)):
            source_x = (width - 1 - x if mirror else x) + dx
            if 0 <= y + dy < height and 0 <= source_x < width:
                crop[c, y, x] = image[c, y + dy, source_x]
        found.append(crop)
    return found


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.sampled_from([(1, 8, 8), (2, 8, 16), (1, 17, 9), (3, 4, 4)]),
    strided=st.booleans(),
)
def test_each_image_is_one_of_its_crops(
    seed: int, size: tuple[int, int, int], strided: bool
) -> None:
    torch.manual_seed(seed)
    images = torch.randn(3, *size)
    if strided:
        images = images.to(memory_format=torch.channels_last)
    before = images.clone()
    changed = flip_shift(images)
    assert torch.equal(images, before)
    assert changed.shape == images.shape
    for image, result in zip(images, changed, strict=True):
        assert any(torch.equal(result, crop) for crop in all_crops(image))


def test_every_crop_comes_up_and_images_differ() -> None:
    torch.manual_seed(0)
    image = torch.arange(1.0, 65.0).view(1, 8, 8)
    crops = all_crops(image)
    counts = [0] * len(crops)
    for result in flip_shift(image.expand(900, 1, 8, 8)):
        (place,) = (i for i, crop in enumerate(crops) if torch.equal(result, crop))
        counts[place] += 1
    assert len(crops) == 18
    assert min(counts) > 20  # 50 on average
    assert max(counts) < 90


def test_none_is_none() -> None:
    images = torch.randn(2, 1, 8, 8)
    assert AUGMENTATIONS["none"](images) is images


@pytest.mark.parametrize("method", ["crisp", "ocap", "capnn"])
def test_scoring_sees_images_as_they_are(method: str) -> None:
    model = net()
    config = options(method=method, augment="flip_shift", iterations=1)
    task = task_of(model, config)
    images = task.batches.images  # type: ignore[attr-defined]
    own = {image.numpy().tobytes() for image in images}
    seen: dict[bool, list[bool]] = {True: [], False: []}

    def look(module: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        for image in inputs[0].detach():
            seen[module.training].append(image.contiguous().numpy().tobytes() in own)

    model.register_forward_pre_hook(look)
    prune_model(task)
    assert len(seen[False]) >= len(images)
    assert all(seen[False])
    # One of 18 crops is the image itself.
    assert len(seen[True]) == 3 * len(images)
    assert sum(seen[True]) < len(seen[True]) / 4


def test_the_global_generator_decides() -> None:
    images = torch.randn(20, 1, 8, 8)
    results = []

    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(flip_shift(images))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
