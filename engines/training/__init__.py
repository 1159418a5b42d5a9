"""Trains LoRAs: the loop, its data, losses, checkpoints and exports; knows no family."""
