"""Stands in for torchvision where it has no build: the few transforms that diffusers' scripts ask for."""
