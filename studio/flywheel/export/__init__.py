"""LoRAs and datasets leave in the forms that other programs read."""
