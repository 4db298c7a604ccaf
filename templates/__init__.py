"""Jinja templates of the Sparseloop specs, shipped as package data."""
