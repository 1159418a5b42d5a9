"""Defines the instructions, prompts and captions that models are given, and reads tags from their captions."""
