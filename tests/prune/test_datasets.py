"""The digits and the user's share of them."""

from __future__ import annotations

import pytest
import torch

from crisp_loop.core.errors import InputError
from crisp_loop.datasets.registry import load
from crisp_loop.datasets.split import Split, check_classes, stratified, user_samples


def test_digits_split_is_stratified_disjoint_and_repeatable() -> None:
    data = load("digits", seed=3)
    sizes = [len(part) for part in (data.train, data.val, data.test)]
    assert sizes == [1078, 360, 359]
    for part in (data.train, data.val, data.test):
        counts = part.labels.bincount()
        assert counts.max() - counts.min() <= 0.06 * len(part)
    again = load("digits", seed=3)
    assert torch.equal(data.test.images, again.test.images)
    assert not torch.equal(data.test.images, load("digits", seed=4).test.images)
    assert data.train.images.dtype == torch.float32
    assert data.train.images.shape[1:] == (1, 8, 8)


def test_parts_share_no_sample() -> None:
    data = Split(torch.arange(50.0).reshape(50, 1, 1, 1), torch.arange(50) % 3)
    parts = stratified(data, (0.5, 0.3, 0.2), seed=0)
    ids = torch.cat([part.images.flatten() for part in parts])
    assert sorted(ids.tolist()) == list(range(50))


def test_user_samples_counts_and_seeds() -> None:
    data = load("digits").train
    chosen = user_samples(data, [3, 5, 8], per_class=20, seed=1)
    assert chosen.labels.bincount(minlength=10).tolist() == [0, 0, 0, 20, 0, 20, 0, 0, 20, 0]
    again = user_samples(data, [3, 5, 8], per_class=20, seed=1)
    assert torch.equal(chosen.images, again.images)
    other = user_samples(data, [3, 5, 8], per_class=20, seed=2)
    assert not torch.equal(chosen.images, other.images)
    alone = user_samples(data, [5], per_class=20, seed=1)
    assert torch.equal(alone.images, chosen.images[chosen.labels == 5])
    assert len(user_samples(data, [3])) == int((data.labels == 3).sum())


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ([12], "12 cannot be used; the class ids of digits are 0 to 9"),
        ([-1], "-1 cannot be used"),
        ([], "one or more"),
        ([1, 1], "each class id once"),
        (["one"], "0 to 9"),
    ],
)
def test_wrong_classes(classes: list[int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_classes(classes, load("digits"))


def test_empty_class_and_unknown_data_set() -> None:
    data = load("digits").train
    without = data.take(torch.nonzero(data.labels != 4).flatten())
    with pytest.raises(InputError, match="holds no sample of it"):
        user_samples(without, [1, 4])
    with pytest.raises(InputError, match="the known ones are digits"):
        load("cifar1000")
    with pytest.raises(InputError, match="at least 1"):
        user_samples(data, [1], per_class=0)


def test_split_checks_its_tensors() -> None:
    with pytest.raises(InputError, match="labels"):
        Split(torch.zeros(3, 1, 2, 2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(InputError, match="int64"):
        Split(torch.zeros(3, 1, 2, 2), torch.zeros(3))
