"""The use cases in which the editor makes more pictures from those that a character has."""
