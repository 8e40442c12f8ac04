"""A small platform fighter with scripted bots. It produces replays whose lowest possible loss is known."""
