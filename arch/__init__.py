"""One YAML per accelerator, numbers only, shipped as package data."""
