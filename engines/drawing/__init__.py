"""How every family draws: stages, batches, sampling, shortcuts, LoRA files."""
