"""The training loop, its evaluation and its checkpoints."""
