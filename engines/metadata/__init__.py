"""Reads what generating programs write into their pictures."""
