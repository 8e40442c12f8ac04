"""Data screen."""
