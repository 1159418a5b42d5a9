"""Generates pictures with every model family: stages, batches, sampling, speed-ups, LoRA files."""
