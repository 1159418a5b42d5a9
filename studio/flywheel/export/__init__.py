"""The use cases that write LoRAs and datasets in the formats of other programs."""
