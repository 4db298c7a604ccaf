"""Stage: render one spec directory for every (accelerator, layer)."""
