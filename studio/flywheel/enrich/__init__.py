"""The editor makes more pictures of those that a character has."""
