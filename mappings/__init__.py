"""The mapping of every (accelerator, GEMM) that ships, as package data."""
