"""Networks with torchvision's parameter names, and the layer table of any module.

:data:`~crisp_loop.networks.registry.NETWORKS` lists them;
:func:`~crisp_loop.networks.trace.layer_table` reads a network without its weights.
torchvision itself is never imported.
"""
