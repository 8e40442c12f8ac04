"""Services that access processes and files for the screens."""
