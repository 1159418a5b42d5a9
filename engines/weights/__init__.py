"""Reads, quantises and stores weights, and replaces layers by tables."""
