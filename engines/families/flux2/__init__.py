"""Generates and trains with FLUX.2 [klein]."""
