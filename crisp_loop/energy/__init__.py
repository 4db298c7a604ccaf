"""Where every picojoule of a design comes from, and Accelergy's own answer beside it."""
