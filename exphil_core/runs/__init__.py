"""A run seen from outside, and what it says and is told: directory, events, commands, process. No torch."""
