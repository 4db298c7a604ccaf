"""Saliency criteria: what makes a weight worth keeping.

A criterion is a function from a :class:`Subject` to one float64 tensor a layer, in the weight's
own layout (O, I, kh, kw or O, I), or its factors: T_w, **bigger means keep**, never negative,
because pruning sums T_w over blocks. :data:`CRITERIA` names them all. They are pure formulas; that
scoring leaves no trace in the model is the business of
:func:`crisp_loop.prune.scores.saliency.score_weights`, which calls them in evaluation mode.

Notation: w the weights, L_i the cross entropy of sample i over all outputs of the model,
g_i = dL_i/dw, g = mean over samples of g_i, H the Hessian of the mean loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from crisp_loop.networks.tensors import places_of_tensors
from crisp_loop.prune.batches import Batches
from crisp_loop.prune.config import CriterionName
from crisp_loop.prune.scores.products import Product, Saliency, multiplied
from crisp_loop.prune.ste import WeightMask


@dataclass(frozen=True)
class Subject:
    """What is scored: some layers of a model in evaluation mode, for some samples."""

    model: nn.Module
    batches: Batches
    """Samples of the user's classes only."""
    weights: Sequence[nn.Parameter]
    """The dense (latent) weight of each layer to score; all require gradients. Under a mask the
    gradient is the straight-through one, so masked weights are scored too."""
    seed: int = 0
    """For criteria that draw numbers."""


Criterion = Callable[[Subject], Sequence[Saliency]]
"""Scores float64 T_w >= 0, one tensor (or its factors) a weight of the subject, shaped as it."""


def cass(subject: Subject) -> list[Product]:
    """|g * w|: class-aware saliency score, CRISP (Eq. 1)."""
    return [
        Product(gradient, weight.detach())
        for gradient, weight in zip(_sample_mean(subject), subject.weights, strict=True)
    ]


def mean_abs(subject: Subject) -> list[Tensor]:
    """mean_i |g_i| * |w|: what the code of CRISP's authors computes; a backward pass a sample."""
    means = _sample_mean(subject, Tensor.abs, each_sample=True)
    return [
        mean * weight.detach().abs() for mean, weight in zip(means, subject.weights, strict=True)
    ]


def magnitude(subject: Subject) -> list[Tensor]:
    """|w|, without data: Han et al., "Learning both weights and connections", NeurIPS 2015."""
    return [weight.detach().double().abs() for weight in subject.weights]


def snip(subject: Subject) -> list[Tensor]:
    """|g * w| / sum |g * w|: connection sensitivity, Lee et al., "SNIP", ICLR 2019 (Eqs. 5, 6).

    The sum runs over all scored weights, so all scores add up to 1. Two things set it apart from
    :func:`cass`. It divides by that one number, which changes no choice. And its gradient is
    taken at the *dense* weights (SNIP's c = 1): N:M masks are lifted meanwhile, where CASS
    differentiates the masked network. Blocks that are pruned for good stay pruned. Of a network
    without masks, SNIP is CASS divided by its sum.

    SNIP takes the mean gradient of one mini-batch; here it is that of all samples.
    """
    with _nm_masks_lifted(subject.model):
        scores = [multiplied(product) for product in cass(subject)]
    total = sum(float(score.sum()) for score in scores)
    return [score / total if total > 0 else score for score in scores]


def fisher(subject: Subject) -> list[Tensor]:
    """0.5 * mean_i(g_i^2) * w^2: Optimal Brain Damage with the diagonal of the empirical Fisher.

    LeCun et al., "Optimal brain damage", NeurIPS 1990 (Eq. 5: s_k = h_kk u_k^2 / 2, the rise of
    the loss when weight k goes). The Hessian's diagonal h_kk is taken as mean_i(g_i^2), the
    empirical Fisher information (Theis et al., arXiv:1801.05787), one backward pass a sample.
    """
    means = _sample_mean(subject, Tensor.square, each_sample=True)
    return [
        0.5 * mean * weight.detach().double().square()
        for mean, weight in zip(means, subject.weights, strict=True)
    ]


def grasp(subject: Subject) -> list[Tensor]:
    """w * (H g), shifted to start at 0: Wang et al., "GraSP", ICLR 2020 (Eq. 8).

    Sign: GraSP's S(-w) = -w * (H g) is (half) the change of the squared gradient norm when w goes,
    and it prunes the *largest* S, whose removal raises the norm most. So -S = w * (H g) is
    what is to be kept. It may be negative, but blocks need sums of scores that are not: the
    smallest value over all scored weights is subtracted from all. That changes neither the choice
    within N:M groups nor the order of blocks inside a layer, as all blocks keep equally many
    weights; between layers it changes nothing with ``score_norm: per_param``, and favours
    large layers with ``none``.

    g and H are over all samples and the scored weights, so two passes; the loss's temperature is
    1 (the authors' code divides logits by 200).
    """
    gradients = _sample_mean(subject)
    mean = [g.to(w.dtype) for g, w in zip(gradients, subject.weights, strict=True)]
    totals = _zeros(subject.weights)
    samples = 0
    for images, labels in subject.batches:
        samples += len(labels)
        loss = nn.functional.cross_entropy(subject.model(images), labels, reduction="sum")
        gradients = torch.autograd.grad(
            loss, subject.weights, create_graph=True, materialize_grads=True
        )
        # d(g . G)/dw with G constant is H G.
        inner = torch.stack([(a * b).sum() for a, b in zip(gradients, mean, strict=True)]).sum()
        # Where the outputs are linear in all weights of a sample, nothing is left to derive.
        if inner.requires_grad:
            products = torch.autograd.grad(inner, subject.weights, materialize_grads=True)
            for total, product in zip(totals, products, strict=True):
                total += product
    kept = [total / samples * w.detach() for total, w in zip(totals, subject.weights, strict=True)]
    least = min((float(score.min()) for score in kept if score.numel()), default=0.0)
    return [score - least for score in kept]


def synflow(subject: Subject) -> list[Tensor]:
    """|dR/dw * w|, R the sum of outputs of the network with |w| for an input of ones; no data.

    Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic
    flow", NeurIPS 2020 (Eq. 3 and Alg. 1, line 6). One sample shaped as the data's, of ones, in
    float64. Every floating parameter is replaced by its absolute value, scales and offsets of
    batch norm included. Batch norm runs as in evaluation mode, with its running variance but a
    running mean of 0: subtracting a mean would make flow negative. At initialisation, where the
    paper scores, that is what evaluation mode is. Masks that are on stay on.
    """
    images, _ = next(iter(subject.batches))
    state: dict[str, Tensor] = {}
    absolute: dict[int, Tensor] = {}
    for name, tensor in places_of_tensors(subject.model).items():
        value = tensor.detach().double() if tensor.is_floating_point() else tensor
        if isinstance(tensor, nn.Parameter) and tensor.is_floating_point():
            value = absolute.setdefault(id(tensor), value.abs())
        state[name] = value
    for name, part in subject.model.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None:
            state[f"{name}.running_mean" if name else "running_mean"] = torch.zeros_like(
                part.running_mean, dtype=torch.float64
            )
    ours = [absolute[id(weight)].requires_grad_() for weight in subject.weights]
    ones = torch.ones((1, *images.shape[1:]), dtype=torch.float64, device=images.device)
    flow = functional_call(subject.model, state, (ones,), tie_weights=False).sum()
    gradients = torch.autograd.grad(flow, ours, materialize_grads=True)
    return [(g * weight.detach()).abs() for g, weight in zip(gradients, ours, strict=True)]


def random(subject: Subject) -> list[Tensor]:
    """Uniform in [0, 1), the same at every scoring with the subject's seed; a baseline."""
    generator = torch.Generator().manual_seed(subject.seed)
    return [
        torch.rand(weight.shape, generator=generator, dtype=torch.float64).to(weight.device)
        for weight in subject.weights
    ]


CRITERIA: Mapping[CriterionName, Criterion] = {
    "paper": cass,
    "mean_abs": mean_abs,
    "magnitude": magnitude,
    "snip": snip,
    "fisher": fisher,
    "grasp": grasp,
    "synflow": synflow,
    "random": random,
}
"""``PruneConfig.criterion`` to formula."""


def _sample_mean(
    subject: Subject,
    transform: Callable[[Tensor], Tensor] | None = None,
    each_sample: bool = False,
) -> list[Tensor]:
    """The mean of g_i over samples, or of ``transform(g_i)``, in float64.

    Losses are summed, not averaged, over a batch, so the split into batches does not matter (up
    to the rounding of float32). A ``transform`` that is not linear needs ``each_sample``: a
    backward pass a sample, as a batch's pass only gives the sum of its gradients.
    """
    totals = _zeros(subject.weights)
    samples = 0
    for images, labels in subject.batches:
        samples += len(labels)
        size = 1 if each_sample else len(labels)
        for part, targets in zip(images.split(size), labels.split(size), strict=True):
            loss = nn.functional.cross_entropy(subject.model(part), targets, reduction="sum")
            gradients = torch.autograd.grad(loss, subject.weights, allow_unused=True)
            for total, gradient in zip(totals, gradients, strict=True):
                if gradient is not None:
                    total += gradient if transform is None else transform(gradient.double())
    return [total.div_(samples) for total in totals]


def _zeros(weights: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(weight, dtype=torch.float64) for weight in weights]


@contextmanager
def _nm_masks_lifted(model: nn.Module) -> Iterator[None]:
    """All N:M masks of ``model`` off inside the block."""
    masks = [part for part in model.modules() if isinstance(part, WeightMask)]
    kept = [mask.soft.clone() for mask in masks]
    for mask in masks:
        mask.soft.fill_(True)
    try:
        yield
    finally:
        for mask, nm in zip(masks, kept, strict=True):
            mask.soft.copy_(nm)
