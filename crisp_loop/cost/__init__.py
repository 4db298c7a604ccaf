"""What a spec costs: cycles and energy, by the embedded engine or the native timeloop-model."""
