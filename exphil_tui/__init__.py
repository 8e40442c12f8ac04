"""The terminal workbench. Never imports torch."""
