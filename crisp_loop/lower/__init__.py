"""Stage: layers and masks to GEMMs with density models."""
