"""Patterns of pruned weights, and the rules by which scores become one: N:M, blocks, channels."""
