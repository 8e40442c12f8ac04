"""Studies screen and the dialog that starts a study worker."""
