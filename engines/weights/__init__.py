"""Weights on disk and in memory: forms, quantisation, tables in place of layers."""
