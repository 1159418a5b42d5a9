"""LoRA training: one loop, one adapter file per family."""
