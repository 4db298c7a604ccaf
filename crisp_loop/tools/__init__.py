"""The native tools: finding them, running them, and reading what they say when they fail."""
