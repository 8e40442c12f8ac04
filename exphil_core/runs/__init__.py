"""A run seen from outside: its events, its directory, its tail. No torch."""
