"""Benchmarks; each is run as `python -m benchmarks.NAME`."""

from exphil_core.cpu import limit_openmp_spins

# Before a benchmark imports torch, as the exphil command does.
limit_openmp_spins()
