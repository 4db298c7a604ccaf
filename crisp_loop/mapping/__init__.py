"""Stage: choose a mapping for every (accelerator, GEMM)."""
