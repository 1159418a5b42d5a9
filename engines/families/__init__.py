"""Implements the model families: each folder has an engine, its maths and its training."""
