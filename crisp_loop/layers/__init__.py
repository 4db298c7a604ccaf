"""Layer tables from files: lists in YAML, CSV or JSON, Timeloop problems, ONNX graphs.

Networks in torch are traced instead (:mod:`crisp_loop.networks.trace`).
"""

from crisp_loop.layers.read import read_layers

__all__ = ["read_layers"]
