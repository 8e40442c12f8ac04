"""Recordings of one game, of which a dataset keeps one."""

from collections.abc import Iterable

from exphil_core.dataset.index import GameEntry


def kept_recordings(recordings: Iterable[GameEntry]) -> dict[str, str]:
    """Content id of every recording → that of the recording which is kept of its game.

    Recordings that share a twin key are of one game, also where a third one links them. The longest is kept, of
    equally long ones a whole file before a cut or repaired one, then the lower content id: the choice depends on
    which recordings there are, not on the order in which they come.
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
            # The lower number, which is the better recording, stands for the game.
            parent[max(one, other)] = min(one, other)
    return {
        recording.content_id: best_first[root(number)].content_id
        for number, recording in enumerate(best_first)
    }
