"""Tables of runs, studies, losses and button presses."""
