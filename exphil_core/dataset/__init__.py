"""Datasets: games as columns on disk, index, split, sampling, batch plan, batches."""
