"""Tournaments: editors make the same edits, a person judges them blind, and each task's winner is used from then on."""
