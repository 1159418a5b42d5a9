"""Moves weights between the host's memory and the GPU, and measures both."""
