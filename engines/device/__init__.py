"""Moves weights between the host's memory and the card, and measures both."""
