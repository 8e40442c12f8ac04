"""Advice on backbone, window and size, from latencies, studies and the data."""
