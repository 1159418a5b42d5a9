"""The use cases that train a LoRA version of the character on approved pictures."""
