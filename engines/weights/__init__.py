"""Reads, quantises and stores weights, and replaces modulation layers by a table."""
