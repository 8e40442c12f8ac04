"""Parse Slippi replays and archives into games (the columns of one match). The only package that imports peppi_py."""
