"""Slippi's frame counter. A `frame_id` is signed; a `frame_index` is a position in an array, from 0."""

FRAMES_PER_SECOND = 60
FRAME_MS = 1000 / FRAMES_PER_SECOND
"""The budget of one decision: 16.67 ms."""

FIRST_FRAME_ID = -123
"""The first frame of every replay."""

FIRST_PLAYABLE_FRAME_ID = -39
"""The first frame on which inputs move a character; before it the countdown runs."""
