"""The `exphil` command line; one module per command."""
