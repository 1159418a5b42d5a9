"""The LoRA training loop and its data, losses, checkpoints and exports; knows no family."""
