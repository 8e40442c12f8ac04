"""A run from outside its process: directory, events, commands and process control. No torch."""
