"""Text drawings that the CLI and the workbench share: latency gauge, dial and strip."""
