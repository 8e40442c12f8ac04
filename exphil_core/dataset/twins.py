"""Deduplicate recordings: a dataset keeps one recording of each game."""

from collections.abc import Iterable

from exphil_core.dataset.index import GameEntry


def kept_recordings(recordings: Iterable[GameEntry]) -> dict[str, str]:
    """Map the content id of each recording to that of the recording kept of its game.

    Recordings that share a twin key, directly or through others, are of one game. The longest is kept; of equally
    long ones an intact file, then the lowest content id. The result does not depend on the order of `recordings`.
    """
    best_first = sorted(
        recordings,
        key=lambda game: (-game.frames, game.salvaged, bool(game.repaired), game.content_id),
    )
    parent = list(range(len(best_first)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first_with: dict[str, int] = {}
    for number, recording in enumerate(best_first):
        for key in recording.twin_keys:
            one, other = root(first_with.setdefault(key, number)), root(number)
            # The lower number is the better recording; it represents the game.
            parent[max(one, other)] = min(one, other)
    return {
        recording.content_id: best_first[root(number)].content_id
        for number, recording in enumerate(best_first)
    }
