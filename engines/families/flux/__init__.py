"""Generates and trains with FLUX.1."""
