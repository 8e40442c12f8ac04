"""Slippi's frame numbering: `frame_id` starts at -123; `frame_index` is an array position, from 0."""

FRAMES_PER_SECOND = 60
FRAME_MS = 1000 / FRAMES_PER_SECOND
"""Time budget of one decision: 16.67 ms."""

FIRST_FRAME_ID = -123
"""The first frame of every replay."""

FIRST_PLAYABLE_FRAME_ID = -39
"""The first frame on which inputs act, after the countdown."""
