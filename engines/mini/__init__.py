"""Draws the world that the embedded models know, and trains these models, `assets/mini`, from nothing."""
