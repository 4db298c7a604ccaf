"""The channels that stay, against a greedy search in plain Python."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.prune.patterns.channels import choose_channels

LAYERS = st.lists(
    # Few values, so that ties within and between layers are frequent.
    st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.integers(1, 9)),
    min_size=1,
    max_size=5,
)


def by_search(layers: list[tuple[list[int], int]], zeros: int) -> list[list[bool]]:
    """Prune the least prunable channel, found anew each time, until enough weights are gone."""
    keep = [[True] * len(scores) for scores, _ in layers]
    gone = 0
    while gone < zeros:
        prunable = [
            (score, layer, channel)
            for layer, (scores, _) in enumerate(layers)
            for channel, score in enumerate(scores)
            if keep[layer][channel] and sum(keep[layer]) > 1
        ]
        _, layer, channel = min(prunable)
        keep[layer][channel] = False
        gone += layers[layer][1]
    return keep


@settings(max_examples=300, deadline=None)
@given(LAYERS, st.fractions(0, 1))
def test_choice_is_the_greedy_one(layers: list[tuple[list[int], int]], share) -> None:
    scores = {
        f"layer{9 - i}": torch.tensor(values, dtype=torch.float64)
        for i, (values, _) in enumerate(layers)
    }
    weights = {f"layer{9 - i}": weight for i, (_, weight) in enumerate(layers)}
    most = sum((len(values) - 1) * weight for values, weight in layers)
    zeros = int(share * most)
    keep = choose_channels(scores, weights, zeros)
    assert list(keep) == list(scores)
    assert [mask.tolist() for mask in keep.values()] == by_search(layers, zeros)

    gone = sum(int((~mask).sum()) * weights[name] for name, mask in keep.items())
    assert gone >= zeros
    for name, mask in keep.items():
        assert mask.dtype == torch.bool
        # No channel stays for a worse one of the same layer, and the best one always stays.
        assert mask.any()
        if not mask.all():
            assert scores[name][mask].min() >= scores[name][~mask].max()
    with pytest.raises(CrispLoopError, match="the most is") as caught:
        choose_channels(scores, weights, most + 1)
    assert str(caught.value).count(". ") == 0


def test_more_zeros_prune_a_superset() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = {name: torch.rand(8, generator=generator) for name in "abc"}
    weights = {"a": 3, "b": 18, "c": 5}
    before = choose_channels(scores, weights, 0)
    assert all(mask.all() for mask in before.values())
    for zeros in range(1, 7 * (3 + 18 + 5) + 1):
        after = choose_channels(scores, weights, zeros)
        assert not any((after[name] & ~before[name]).any() for name in scores)
        before = after
    assert all(int(mask.sum()) == 1 for mask in before.values())
    assert all(mask[scores[name].argmax()] for name, mask in before.items())


def test_refusals() -> None:
    for scores, weights in [
        ({"a": torch.tensor([1.0, float("nan")])}, {"a": 1}),
        ({"a": torch.ones(2, 2)}, {"a": 1}),
        ({"a": torch.ones(0)}, {"a": 1}),
        ({"a": torch.ones(2)}, {}),
        ({"a": torch.ones(2)}, {"a": 0}),
    ]:
        with pytest.raises(CrispLoopError, match="layer a"):
            choose_channels(scores, weights, 1)
