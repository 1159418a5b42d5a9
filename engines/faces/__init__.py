"""Finds faces in pictures, and reads from their five landmarks how heads are turned; no language model is asked."""
