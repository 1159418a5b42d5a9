"""Edits, captions and trains with Qwen-Image-Edit."""
