"""Games on disk as columns, the split, the batch plan and the windows cut from it."""
