"""Draws with every family: stages, batches, sampling, shortcuts, LoRA files."""
