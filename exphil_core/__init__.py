"""Everything of exphil but the workbench: data, models, training, runs and the command line."""
