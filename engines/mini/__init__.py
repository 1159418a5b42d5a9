"""Draws the toy world that the embedded models know, and trains these models (`assets/mini`) from scratch."""
