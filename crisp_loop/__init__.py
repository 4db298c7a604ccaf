"""crisp_loop: class-aware hybrid-sparse pruning, priced on tensor-core designs."""

__version__ = "0.1.0"
