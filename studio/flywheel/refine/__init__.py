"""Corrections become an editor LoRA version."""
