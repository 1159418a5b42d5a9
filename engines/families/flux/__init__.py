"""Draws and trains with FLUX.1."""
