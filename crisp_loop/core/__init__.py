"""The vocabulary that every stage shares: errors, files, patterns, layers, GEMMs, results."""
