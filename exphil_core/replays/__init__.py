"""Slippi replays and archives become games: the columns of one match. The only importer of peppi_py."""
