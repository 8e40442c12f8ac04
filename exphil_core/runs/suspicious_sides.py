"""Warning text about held-out sides that are probably not human play, from an `evaluated` event."""

from collections.abc import Mapping, Sequence
from typing import Any

from exphil_core.melee import characters

MOST_NAMED = 5


def repeat_sentence(sides: Sequence[Mapping[str, Any]]) -> str:
    """Describe one or more of the sides in `repeat_is_best` in a sentence."""
    named = [
        f"{characters.by_name(side['character']).title} at port {side['port']} of game {side['content_id'][:12]} "
        f"({side['frames']:,} frames, repeat {side['baseline_repeat']:.3f}, markov {side['baseline_markov']:.3f})"
        for side in sides[:MOST_NAMED]
    ]
    if len(sides) > MOST_NAMED:
        named.append(f"and {len(sides) - MOST_NAMED} more")
    which = "1 held-out side" if len(sides) == 1 else f"{len(sides)} held-out sides"
    why = "a script, idle, or a controller unlike those in training?"
    return f"repeat is the best baseline of {which}: {why} {', '.join(named)}"
