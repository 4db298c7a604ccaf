"""Many points at once: grids of networks, patterns and designs, on one machine or a cluster."""

from crisp_loop.sweep.dataset import read_layers, read_points
from crisp_loop.sweep.file import Sweep, load_sweep
from crisp_loop.sweep.run import SweepOptions, SweepSummary, run_sweep, sweep_state

__all__ = [
    "Sweep",
    "SweepOptions",
    "SweepSummary",
    "load_sweep",
    "read_layers",
    "read_points",
    "run_sweep",
    "sweep_state",
]
