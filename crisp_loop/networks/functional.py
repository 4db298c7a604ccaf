"""Matrix products that no layer module computes, seen where torch dispatches its operators."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from crisp_loop.core.layers import Layer
from crisp_loop.networks.convolution import convolutions

_BATCHED = {torch.ops.aten.bmm.default: 0, torch.ops.aten.baddbmm.default: 1}
"""Operators with two stacks of matrices, and where the first of them stands."""
_SINGLE = {torch.ops.aten.mm.default: 0, torch.ops.aten.addmm.default: 1}
"""The same for two matrices."""
_CONVOLUTION = torch.ops.aten.convolution.default


class Products:
    """Reports the products that run while no layer module does.

    One of a parameter and an activation is a linear layer or a convolution named after the
    parameter, one of two activations is a ``matmul`` named after the module that computes it.

    Args:
        module: The network that will run.
        running: The layer modules that run at the moment, whose products are theirs.
        found: Who hears of each product.
    """

    def __init__(
        self, module: nn.Module, running: list[nn.Module], found: Callable[[Layer], None]
    ) -> None:
        self._module = module
        self._running = running
        self._found = found
        self._parameters: dict[int, str] = {}
        self._stack: list[str] = []
        self._counts: dict[str, int] = {}
        self._hooks: list[RemovableHandle] = []
        self._mode = _Mode(self._see)

    def learn(self, tensors: dict[str, Tensor]) -> None:
        """The tensors that the network will run with, by which it knows parameters."""
        self._parameters = {_storage(tensor): name for name, tensor in tensors.items()}

    def __enter__(self) -> Products:
        for name, part in self._module.named_modules():
            self._hooks.append(part.register_forward_pre_hook(self._entering(name)))
            self._hooks.append(part.register_forward_hook(self._leave))
        # The fused kernels of torch's own attention know no meta device.
        self._fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        self._mode.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._mode.__exit__(kind, error, traceback)
        torch.backends.mha.set_fastpath_enabled(self._fast_path)
        for hook in self._hooks:
            hook.remove()

    def _entering(self, name: str) -> Callable[[nn.Module, Any], None]:
        def enter(part: nn.Module, inputs: Any) -> None:
            self._stack.append(name)

        return enter

    def _leave(self, part: nn.Module, inputs: Any, output: Any) -> None:
        self._stack.pop()

    def _see(self, operator: Any, arguments: tuple[Any, ...], result: Any) -> None:
        if self._running:
            return
        if operator in _BATCHED:
            first, second = arguments[_BATCHED[operator] :][:2]
            self._batched(first, second)
        elif operator in _SINGLE:
            first, second = arguments[_SINGLE[operator] :][:2]
            self._batched(first[None], second[None])
        elif operator is _CONVOLUTION:
            given, weight, _, stride, padding, dilation, transposed, _, groups = arguments
            name = self._parameters.get(_storage(weight), self._stack[-1] if self._stack else "")
            for layer in convolutions(
                name.removesuffix(".weight"), tuple(weight.shape), given, result,
                tuple(stride), tuple(padding), tuple(dilation), groups, transposed,
            ):  # fmt: skip
                self._found(layer)

    def _batched(self, first: Tensor, second: Tensor) -> None:
        groups, rows, columns = first.shape
        if weight := self._parameters.get(_storage(second)):
            self._linear(weight, second, second.shape[2], columns, rows)
        elif weight := self._parameters.get(_storage(first)):
            self._linear(weight, first, rows, columns, second.shape[2])
        else:
            self._product(groups, first, second)

    def _linear(self, name: str, weight: Tensor, rows: int, columns: int, inputs: int) -> None:
        # A weight that is repeated for each of a batch is one weight with more inputs.
        copies = weight.shape[0] if weight.stride(0) == 0 else 1
        groups = weight.shape[0] // copies
        self._found(
            Layer(
                name=name.removesuffix(".weight"),
                kind="linear",
                in_channels=groups * columns,
                out_channels=groups * rows,
                groups=groups,
                batch=copies * inputs,
            )
        )

    def _product(self, groups: int, first: Tensor, second: Tensor) -> None:
        where = self._stack[-1] if self._stack else ""
        index = self._counts.get(where, 0)
        self._counts[where] = index + 1
        self._found(
            Layer(
                name=f"{where}.matmul{index}".lstrip("."),
                kind="matmul",
                in_channels=groups * first.shape[-1],
                out_channels=groups * first.shape[-2],
                groups=groups,
                batch=second.shape[-1],
            )
        )


class _Mode(TorchDispatchMode):
    def __init__(self, see: Callable[[Any, tuple[Any, ...], Any], None]) -> None:
        super().__init__()
        self._see = see

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Called for each operator that runs."""
        result = func(*args, **(kwargs or {}))
        self._see(func, args, result)
        return result


def _storage(tensor: Tensor) -> int:
    """What a tensor and its views have in common, on devices without memory too."""
    return tensor.untyped_storage()._cdata
