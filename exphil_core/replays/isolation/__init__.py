"""Subprocesses that parse untrusted replays, for ingest and for viewing."""
