"""Scores of whole output channels (filters): what class-aware channel pruning ranks by.

Every function gives one float64 tensor (S,) a layer, S its output channels; **bigger means
keep**, never negative. :func:`crisp_loop.prune.patterns.channels.choose_channels` turns scores
into masks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.prune.batches import Batches
from crisp_loop.prune.scores.feature_maps import watch_feature_maps
from crisp_loop.prune.scores.generators import generators_kept


def ocap(
    model: nn.Module,
    batches: Batches,
    names: Sequence[str],
    *,
    images: int = 30,
    negative_slope: float = 0.14,
) -> dict[str, Tensor]:
    """The share of its layer's channels that a channel beats in its best image, as OCAP ranks.

    Ma et al., "OCAP: On-device class-aware pruning for personalized edge DNN models", Journal of
    Systems Architecture 142, 2023. In each image OCAP keeps the share r of a layer's channels
    with the strongest feature maps, and a channel stays if any image keeps it (the variant that
    the authors' code calls OCAP-AB). Both together are a threshold on one score,
    max over images of (channels that are strictly weaker) / S:

    * ``score >= 1 - r`` keeps the strongest floor(r * S) channels of each image;
    * ``score > 1 - r`` is the authors' code (github.com/mzd2222/OCAP), which keeps one channel
      fewer where r * S is whole.

    Equally strong channels do not beat each other: they share the lower rank and go or stay
    together. Where no channel passes, OCAP keeps the first one, and
    :func:`crisp_loop.prune.patterns.channels.choose_channels` the best.

    From the authors' code are: the strength, the L2 norm over positions of LeakyReLU of the
    *batch norm's* output (the layer's own where there is none), so strongly negative maps
    count too; its slope; and the number of images *of each class*, 20 or 30.

    Left out: that the authors prune neither linear layers nor the first two or three convolutions
    (of MobileNetV2's, only 29 in the middle), choose a ratio by hand for each network, and rank
    the *input* channels of a pre-activation ResNet's convolutions; slicing the head
    (:func:`crisp_loop.networks.head.slice_head`); choosing fine-tuning samples on the device by
    KL divergence; and the fine-tuning. The article itself was not at hand, only its abstract
    and code.

    Images run one by one, so that the scores are the same however samples are batched.

    Args:
        model: Any module with the layers ``names``.
        batches: Samples of the user's classes only. The first ones of each class are taken.
        names: Qualified names of Conv2d and Linear layers.
        images: Images of each class.
        negative_slope: Of LeakyReLU. The authors' code has 0.14 for VGG, 0.4 for ResNet-56 and
            0.06 for MobileNetV2.

    Returns:
        Layer name to float64 (S,), multiples of 1/S in [0, 1).

    Raises:
        CrispLoopError: fewer than one image, no samples, or feature maps that are NaN.
    """
    if images < 1:
        raise CrispLoopError(f"OCAP needs at least one image of each class, not {images}.")

    def strength(values: Tensor) -> Tensor:
        # Squares rank as their roots do.
        return nn.functional.leaky_relu(values.double(), negative_slope).square()

    scores: dict[str, Tensor] = {}
    taken: dict[int, int] = {}
    with (
        generators_kept(batches),
        watch_feature_maps(model, names, strength, activated=False) as observe,
    ):
        for inputs, labels in batches:
            for row, label in enumerate(labels.tolist()):
                if taken.get(label, 0) == images:
                    continue
                taken[label] = taken.get(label, 0) + 1
                for name, found in observe(inputs[row : row + 1]).items():
                    share = _share_beaten(_finite(found.sums[0], name))
                    scores[name] = torch.maximum(scores.get(name, share), share)
    if not taken:
        raise CrispLoopError("The data for pruning holds no samples.")
    return scores


def _share_beaten(strengths: Tensor) -> Tensor:
    """Of each of (S,) channels, the channels that are strictly weaker, divided by S."""
    weaker = torch.searchsorted(strengths.sort().values, strengths)
    return weaker.double() / len(strengths)


def firing_rates(
    model: nn.Module, batches: Batches, names: Sequence[str]
) -> tuple[list[int], dict[str, Tensor]]:
    """F: how often each channel fires for each class.

    F[channel, class] is the share of (samples of the class) x (positions) at which the channel's
    feature map is positive. Counts are whole numbers, so F does not depend on how samples are
    split into batches, but for values so near to 0 that the model's own rounding decides.

    Args:
        model: Any module with the layers ``names``.
        batches: Samples; their labels are the classes.
        names: Qualified names of Conv2d and Linear layers.

    Returns:
        The classes found, ascending, and layer name to float64 (S, classes) in [0, 1].

    Raises:
        CrispLoopError: no samples, or feature maps that are NaN.
    """
    fired: dict[str, dict[int, Tensor]] = {name: {} for name in names}
    places: dict[str, dict[int, int]] = {name: {} for name in names}
    classes: set[int] = set()

    def fires(values: Tensor) -> Tensor:
        # 1 where a rectified value is positive, else 0. NaN stays NaN, as it is neither.
        return values.ceil().clamp(max=1)

    with generators_kept(batches), watch_feature_maps(model, names, fires) as observe:
        for inputs, labels in batches:
            found = observe(inputs)
            for label in labels.unique().tolist():
                classes.add(label)
                rows = labels == label
                for name, maps in found.items():
                    count = maps.sums[rows.to(maps.sums.device)].sum(dim=0)
                    fired[name][label] = fired[name].get(label, 0) + _finite(count, name)
                    samples = int(rows.sum())
                    places[name][label] = places[name].get(label, 0) + samples * maps.positions
    if not classes:
        raise CrispLoopError("The data for pruning holds no samples.")
    order = sorted(classes)
    rates = {
        name: torch.stack([fired[name][k] / places[name][k] for k in order], dim=1)
        for name in names
    }
    return order, rates


def capnn(
    model: nn.Module,
    batches: Batches,
    names: Sequence[str],
    usage: Mapping[int, float] | None = None,
) -> dict[str, Tensor]:
    """Firing rates over the user's classes: the greatest one, or their mean weighted by usage.

    Hemmat, San Miguel and Davoodi, "CAP'NN: Class-aware personalized neural network inference",
    DAC 2020. For one class, a unit whose firing rate F[unit, class] is below a threshold T is a
    candidate for pruning.

    * CAP'NN-B prunes the units that are candidates for *all* of the user's classes: the score is
      max over classes of F, and ``score < T`` says the same.
    * CAP'NN-W weights classes by how often the user meets them: with ``usage`` the score is
      sum over classes of usage[k] * F[unit, k], and ``score < T`` prunes.

    A unit is a channel of a convolution or an output of a linear layer, and fires where its
    feature map is positive (:func:`firing_rates`).

    Left out: CAP'NN-M, which also prunes *miseffectual* units, those that confuse classification;
    the search of a threshold for each layer such that no class loses more accuracy than allowed
    (a threshold over all layers takes its place); rates computed beforehand in the cloud for
    all classes, where these are of the user's samples; the cache of thresholds of the journal
    version (ACM TECS 2022). The articles themselves were not at hand, only abstracts and
    summaries: that a channel's rate counts all of its positions is this package's reading.

    Args:
        model: Any module with the layers ``names``.
        batches: Samples of the user's classes only.
        names: Qualified names of Conv2d and Linear layers.
        usage: Class to how often the user meets it, in any unit; classes that it leaves out
            count 0. CAP'NN-B when None.

    Returns:
        Layer name to float64 (S,) in [0, 1].

    Raises:
        CrispLoopError: no samples, NaN, or a usage that is negative, adds up to 0 or names a
            class without samples.
    """
    if usage is not None:
        _check_usage(usage)
    classes, rates = firing_rates(model, batches, names)
    if usage is None:
        return {name: rate.amax(dim=1) for name, rate in rates.items()}
    for label in usage:
        if label not in classes:
            known = ", ".join(str(k) for k in classes)
            raise CrispLoopError(
                f"The usage names class {label}, but the data for pruning holds {known} only."
            )
    total = sum(usage.values())
    shares = [usage.get(k, 0.0) / total for k in classes]
    return {
        name: (rate * rate.new_tensor(shares)).sum(dim=1).clamp(max=1)
        for name, rate in rates.items()
    }


def _check_usage(usage: Mapping[int, float]) -> None:
    values = list(usage.values())
    if not all(math.isfinite(value) and value >= 0 for value in values) or sum(values) <= 0:
        raise CrispLoopError(
            f"The usage of classes is {dict(usage)}; expected non-negative numbers, one of them"
            f" above 0."
        )


def filter_saliency(saliency: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sum of T_w over the weights of each output channel.

    With T_w = |w| (criterion ``magnitude``) this is the L1 norm of filters: Li et al., "Pruning
    filters for efficient ConvNets", ICLR 2017 (section 3.1). With criteria from gradients it is
    the importance of a group as the sum of its members': Molchanov et al., "Importance estimation
    for neural network pruning", CVPR 2019 (section 3).

    Left out: Molchanov et al. sum (g * w)^2, mean over mini-batches, and place gates behind
    batch norm where there is one, where T_w is of the convolution's weights alone, of one
    scoring; Li et al. prune each layer by a ratio of its own. Sums favour filters with many
    weights, as those of late layers: divide them before one threshold over all layers.

    Args:
        saliency: Layer name to T_w in the weight's layout (S, ...), as
            :func:`crisp_loop.prune.scores.saliency.score_weights` returns it.

    Returns:
        Layer name to float64 (S,).
    """
    return {name: score.double().flatten(1).sum(dim=1) for name, score in saliency.items()}


def _finite(values: Tensor, name: str) -> Tensor:
    if not values.isfinite().all():
        raise CrispLoopError(
            f"The feature maps of layer {name} are NaN or infinite, so its channels cannot be"
            f" scored; check the data and the weights."
        )
    return values
