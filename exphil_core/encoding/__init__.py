"""Columns become model inputs; controllers become target tokens and back. Torch starts here."""
