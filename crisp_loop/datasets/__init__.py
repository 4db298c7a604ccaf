"""Data sets as tensors, and the user's share of them.

:func:`~crisp_loop.datasets.registry.load` reads one;
:func:`~crisp_loop.datasets.split.user_samples` draws the samples of the user's classes.
"""
