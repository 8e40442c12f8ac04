"""Runs screen."""
