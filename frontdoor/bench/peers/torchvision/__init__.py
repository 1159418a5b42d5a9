"""Replaces torchvision where it has no build: the few transforms that diffusers' scripts use."""
