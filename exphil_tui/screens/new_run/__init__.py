"""New-run screen."""
