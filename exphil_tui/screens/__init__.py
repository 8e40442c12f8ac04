"""Screens of the workbench: one module per screen, with its .tcss file."""
