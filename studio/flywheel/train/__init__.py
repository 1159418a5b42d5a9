"""Approved pictures become a character LoRA version."""
