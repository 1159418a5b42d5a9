"""Widgets only: what the user sees of the studio."""
