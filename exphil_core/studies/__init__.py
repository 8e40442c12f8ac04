"""Studies: runs along axes that a budget makes comparable, their workers and their report."""
