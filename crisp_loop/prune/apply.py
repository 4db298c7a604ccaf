"""Masks on plain modules: zero what they prune, keep it zero in training, read them back.

Nothing here changes a model's classes, its attributes or the keys of its state_dict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TypeGuard
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.masks import BoolArray, Masks, matrix_view, sparsity_of
from crisp_loop.core.pattern import NM

_SHOWN = 6
"""Layers that a message names before it says how many more there are."""


def apply_masks(model: nn.Module, masks: Masks) -> None:
    """Set the weights that ``masks`` prunes to zero, once and in place.

    Args:
        model: Plain, with conv and linear layers of the masks' names. All of its parameters stay
            the same objects, of any dtype, on any device.
        masks: Layers that it does not name are left as they are.

    Raises:
        CrispLoopError: a name that is no layer, or no Conv2d or Linear; a mask of another shape
            than the weight's, or not boolean; a weight that is computed from others
            (parametrized), not there yet (lazy), or shared with another layer. Nothing was
            changed then.
    """
    with torch.no_grad():
        for _, weight, pruned in _targets(model, masks):
            weight.masked_fill_(pruned.on(weight.device), 0.0)


class Handle:
    """What :func:`freeze_masks` returns. Lets go by :meth:`remove`, or at the end of a ``with``."""

    def __init__(self, pruned: list[_Pruned], gradients: list[RemovableHandle]) -> None:
        self._pruned = pruned
        self._gradients = gradients

    def remove(self) -> None:
        """Let the masked weights train again, from zero; a second call does nothing."""
        for hook in self._gradients:
            hook.remove()
        for layer, entries in list(_frozen.items()):
            entries[:] = [entry for entry in entries if entry not in self._pruned]
            if not entries:
                del _frozen[layer]
        if not _frozen:
            while _hooks:
                _hooks.pop().remove()

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


def freeze_masks(model: nn.Module, masks: Masks) -> Handle:
    """Apply ``masks`` and keep the masked weights at zero while ``model`` is trained.

    Until the handle is removed, every masked weight is exactly zero

    * after every ``step()`` of any ``torch.optim.Optimizer``, made before or after this call,
      whatever momentum or decay it carries, also when a GradScaler calls it; and
    * whenever the layer is called, so also after ``load_state_dict`` or after code that writes
      weights without an optimizer.

    Masked weights get a gradient of zero (where the weight required one at this call), so that
    they count in no gradient norm and gather no momentum.

    What this does not reach: the time between a ``load_state_dict`` and the next call of the
    layer; calls inside ``torch.compile`` and ``torch.func`` transforms, where a layer must not
    change (steps of optimizers are as safe as ever); and code that computes with ``layer.weight``
    without calling the layer.

    The model itself carries nothing: its state_dict, deep copies and pickles are those of a plain
    model, and a copy is not frozen. The hooks are torch's process-wide ones, there as long as
    something is frozen. They do not keep the model alive.

    Args:
        model: As for :func:`apply_masks`. It may move to another device or dtype meanwhile.
        masks: May freeze a model again that is frozen: both sets of zeros hold then.

    Raises:
        CrispLoopError: as :func:`apply_masks`, with nothing changed and nothing frozen.
    """
    targets = _targets(model, masks)
    gradients: list[RemovableHandle] = []
    for layer, weight, pruned in targets:
        pruned.zero(weight)
        if weight.requires_grad:
            gradients.append(weight.register_hook(pruned.masked))
        _frozen.setdefault(layer, []).append(pruned)
    if targets and not _hooks:
        _hooks.append(register_optimizer_step_post_hook(_after_step))
        _hooks.append(register_module_forward_pre_hook(_before_forward))
    return Handle([pruned for _, _, pruned in targets], gradients)


def masks_of(
    model: nn.Module,
    nm: NM | str,
    block: int,
    names: Iterable[str] | None = None,
    name: str = "",
) -> Masks:
    """The masks of a model that is pruned already, from its weights that are exactly zero.

    A kept weight may happen to be zero: its group keeps fewer than N then, which fits. Where a
    whole kept block is zero, its block-row keeps fewer blocks than the others, which is refused.

    Args:
        model: With conv (O, I, kh, kw) and linear (O, I) weights; it stays as it is.
        nm: The pattern, as :class:`NM` or ``"2:4"``.
        block: B, the side of the blocks, 1 or more.
        names: The pruned layers, by qualified module name. When None, all conv and linear
            layers with at least one zero; those without are dense.
        name: Of the model, for the masks; the name of its class when empty.

    Returns:
        A mask for each pruned layer, shaped as its weight, True where that is not zero.

    Raises:
        CrispLoopError: layers whose zeros do not follow the pattern, all in one sentence with
            the reason of each; no pruned layer at all; a name that is no conv or linear layer; a
            pattern or block that is none.
    """
    try:
        pattern = NM.parse(nm)
    except ValueError as error:
        raise CrispLoopError(f"The pattern {nm!r} cannot be used; {error}.") from None
    if block < 1:
        raise CrispLoopError(f"Blocks of side {block} cannot be used; expected 1 or more.")
    title = name or type(model).__name__
    if names is None:
        layers = {key: layer for key, layer in model.named_modules() if _prunable(layer)}
    else:
        modules = dict(model.named_modules(remove_duplicate=False))
        layers = {key: _layer(modules, key, title) for key in names}
    found, wrong = {}, []
    for key, layer in layers.items():
        # Read as the layer computes with it: torch's own pruning makes it no parameter.
        weight: Tensor = layer.weight
        if is_lazy(weight):
            raise CrispLoopError(f"Layer {key} has no weight before its first call.")
        mask = (weight.detach() != 0).cpu().numpy()
        if names is None and mask.all():
            continue
        if reason := _misfit(layer, mask, pattern, block):
            wrong.append(f"{key or title} ({reason})")
        found[key] = mask
    if wrong:
        raise CrispLoopError(
            f"{title} does not follow {pattern} in blocks of {block}: {_listed(wrong)}."
        )
    if not found:
        raise CrispLoopError(f"{title} has no conv or linear layer with a weight of zero.")
    return Masks(model=title, nm=pattern, block=block, layers=found)


@dataclass(eq=False)
class _Pruned:
    """Where the weight of one layer is zero."""

    name: str
    places: Tensor
    """Boolean, in the weight's layout, True where it is pruned."""

    def on(self, device: torch.device) -> Tensor:
        """The places on ``device``, where they stay: a model moves once, and is used often."""
        if self.places.device != device:
            self.places = self.places.to(device)
        return self.places

    def masked(self, gradient: Tensor) -> Tensor:
        """``gradient`` with zeros (also for NaN) where the weight is pruned."""
        return gradient.masked_fill(self.on(gradient.device), 0.0)

    def zero(self, weight: Tensor) -> None:
        """Zero a frozen weight."""
        if weight.is_meta:  # has no values, and places moved there would lose theirs
            return
        if weight.shape != self.places.shape:
            raise CrispLoopError(
                f"Layer {self.name} is frozen with a mask shaped {tuple(self.places.shape)}, but"
                f" its weight is now shaped {tuple(weight.shape)}; remove the handle first."
            )
        # Through .data, because autograd would take this for a change of a weight that it saved
        # when a layer is called twice in one pass. The zeros it saved are these same zeros.
        weight.data.masked_fill_(self.on(weight.device), 0.0)


# All frozen layers of the process. One pair of hooks serves them all, so that models which are
# frozen and forgotten leave nothing behind that costs time.
_frozen: WeakKeyDictionary[nn.Module, list[_Pruned]] = WeakKeyDictionary()
_hooks: list[RemovableHandle] = []


def _after_step(*_: object) -> None:
    # All, not only the optimizer's own: it may hold copies that are written back to the weights.
    for layer, entries in list(_frozen.items()):
        _zero(layer, entries)


def _before_forward(module: nn.Module, _: object) -> None:
    # torch.func refuses changes to tensors from outside, and torch.compile would record them.
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return
    entries = _frozen.get(module)
    if entries:
        _zero(module, entries)


def _zero(layer: nn.Module, entries: list[_Pruned]) -> None:
    weight = layer._parameters.get("weight")
    # Not the stand-ins of functional_call, nor a weight that is parametrized meanwhile.
    if isinstance(weight, nn.Parameter):
        for entry in entries:
            entry.zero(weight)


def _prunable(layer: nn.Module) -> TypeGuard[nn.Conv2d | nn.Linear]:
    return isinstance(layer, nn.Conv2d | nn.Linear)


def _layer(modules: Mapping[str, nn.Module], name: str, title: str) -> nn.Conv2d | nn.Linear:
    """The conv or linear layer called ``name``."""
    layer = modules.get(name)
    if layer is None:
        known = _listed([key for key, module in modules.items() if _prunable(module)])
        raise CrispLoopError(
            f"{title} has no layer {name!r}; its conv and linear layers are {known or 'none'}."
        )
    if not _prunable(layer):
        raise CrispLoopError(
            f"Layer {name} of {title} is a {type(layer).__name__}; masks are for Conv2d and"
            f" Linear layers."
        )
    return layer


def _targets(model: nn.Module, masks: Masks) -> list[tuple[nn.Module, nn.Parameter, _Pruned]]:
    """What ``masks`` names in ``model``: layer, weight, places to zero; all checked first."""
    title = type(model).__name__
    modules = dict(model.named_modules(remove_duplicate=False))
    targets: list[tuple[nn.Module, nn.Parameter, _Pruned]] = []
    for name, mask in masks.layers.items():
        layer = _layer(modules, name, title)
        weight = layer._parameters.get("weight")
        place = f"layer {name}" if name else title  # the model may be a layer itself
        if weight is None or is_lazy(weight):
            why = "is computed from other tensors" if weight is None else "is not there yet"
            raise CrispLoopError(f"The weight of {place} {why}; expected a plain parameter.")
        if mask.shape != tuple(weight.shape):
            raise CrispLoopError(
                f"The mask of {place} is shaped {tuple(mask.shape)}, but its weight is"
                f" {tuple(weight.shape)}."
            )
        if mask.dtype != bool:
            raise CrispLoopError(f"The mask of {place} holds {mask.dtype}; expected booleans.")
        if other := _sharer(model, layer, weight):
            raise CrispLoopError(
                f"The {place} shares its weight with {other}, which its mask would prune too;"
                f" leave it out of the masks or untie the two."
            )
        targets.append((layer, weight, _Pruned(name, torch.from_numpy(~mask))))
    return targets


def _sharer(model: nn.Module, layer: nn.Module, weight: nn.Parameter) -> str:
    """Another module that holds ``weight``; empty if there is none."""
    # Modules come once each here: one layer under two names shares nothing.
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            same = parameter is weight or (
                not is_lazy(parameter) and 0 != parameter.data_ptr() == weight.data_ptr()
            )
            if same and module is not layer:
                return name or type(module).__name__
    return ""


def _misfit(layer: nn.Module, mask: BoolArray, nm: NM, block: int) -> str:
    """Why a layer's mask does not follow the pattern; empty if it does."""
    if not mask.any():
        return "all its weights are zero"
    if mask.all():
        return "none of its weights is zero"
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        return f"it has {layer.groups} groups"
    if mask.shape[1] % nm.m:
        return f"its {mask.shape[1]} input channels are not a multiple of {nm.m}"
    try:
        sparsity_of(matrix_view(mask).astype(bool, copy=False), nm, block)
    except ValueError as error:
        return str(error)
    return ""


def _listed(items: list[str]) -> str:
    more = f", and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
