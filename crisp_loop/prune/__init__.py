"""Class-aware pruning to N:M inside uniformly pruned blocks (CRISP, Algorithm 1).

:func:`crisp_loop.prune.run.prune_network` is the stage;
:func:`crisp_loop.prune.module.prune_module` prunes any torch module in place.
"""
