"""Keeps a studio in order: downloads of models, checks of the machine, disk use, cleaning up, and backups."""
