"""A small platform fighter with scripted bots: an embedded source of replays whose best loss is known."""
