"""Training and pruning in turn: :func:`crisp_loop.prune.training.prune.prune_model`."""
