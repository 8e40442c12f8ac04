"""State and view models of the workbench. No Textual."""
