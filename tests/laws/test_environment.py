"""What a policy observes in play is what the parsed recording of the same match holds, column by column."""

from pathlib import Path

import numpy as np
import pytest

from exphil_core.arena.plan import plan_matches
from exphil_core.arena.players import BotPlayer, Seat
from exphil_core.dojo.environment import DojoMatch, observe
from exphil_core.dojo.world import DOJO_STAGES
from exphil_core.melee.characters import LOW_TIER, by_name
from exphil_core.melee.controller import NEUTRAL
from exphil_core.replays.columns import GROUPS, HALF, LAYOUT
from exphil_core.replays.pack import pack_game
from exphil_core.replays.parse import parse_replay

LOW_TIERS = tuple(by_name(name).external_id for name in LOW_TIER)
MATCHES = 50


def _played(number: int, *, frames: int | None = None) -> tuple[DojoMatch, list[dict[str, np.ndarray]]]:
    """A match of two bots, and what both seats observe in each frame: rows 0 and 1 of every group."""
    planned = plan_matches(number + 1, seed=5, first=LOW_TIERS, second=LOW_TIERS)[number]
    played = DojoMatch(planned.match, record=True)
    players = (BotPlayer(), BotPlayer())
    seats = [Seat(planned, played, player=player, row=0) for player in (0, 1)]
    for player, seat in zip(players, seats, strict=True):
        player.begin(seat)
    observed = []
    controllers = (NEUTRAL, NEUTRAL)
    while not played.over and (frames is None or len(observed) < frames):
        played.step(controllers)
        observed.append(observe([played, played], [0, 1]))
        if not played.over:
            chosen = [player.act([seat])[0] for player, seat in zip(players, seats, strict=True)]
            controllers = (chosen[planned.seat], chosen[1 - planned.seat])
    return played, observed


@pytest.mark.parametrize("number", range(0, MATCHES, 5))
def test_an_environments_columns_are_those_of_the_recording(number: int, tmp_path: Path) -> None:
    for each in range(number, number + 5):
        played, observed = _played(each, frames=1500)
        path = tmp_path / f"{each}.slp"
        path.write_bytes(played.replay({"version": "1", "players": {}}))
        game = pack_game(parse_replay(path))
        assert game.frames == len(observed)
        for group in GROUPS:
            live = np.stack([frame[group] for frame in observed])
            half, stored = HALF[group], game.groups[group]
            differing = [
                name
                for index, name in enumerate(LAYOUT[group])
                if not np.array_equal(live[:, 0, index], stored[:, index], equal_nan=group == "f32")
            ]
            assert differing == []
            swapped = np.concatenate(
                [stored[:, half : 2 * half], stored[:, :half], stored[:, 2 * half :]], axis=1
            )
            assert np.array_equal(live[:, 1], swapped, equal_nan=group == "f32")


def test_the_law_sees_all_characters_and_stages_and_inputs_that_matter() -> None:
    planned = plan_matches(MATCHES, seed=5, first=LOW_TIERS, second=LOW_TIERS)
    assert {planned_match.character(0) for planned_match in planned} == set(LOW_TIERS)
    assert {planned_match.match.stage for planned_match in planned} == set(DOJO_STAGES)
    _, observed = _played(0, frames=1500)
    last = np.stack([frame["f32"] for frame in observed])
    assert (np.nanstd(last[:, 0, : HALF["f32"]], axis=0) > 0).sum() > 12


def test_a_saved_match_goes_on_like_the_one_that_went_on() -> None:
    played, _ = _played(3, frames=700)
    kept = played.save()
    given = []
    bots = (BotPlayer(), BotPlayer())
    planned = plan_matches(4, seed=5, first=LOW_TIERS, second=LOW_TIERS)[3]
    seats = [Seat(planned, played, player=player, row=0) for player in (0, 1)]
    for bot, seat in zip(bots, seats, strict=True):
        bot.begin(seat)
    for _ in range(600):
        if played.over:
            break
        chosen = [bot.act([seat])[0] for bot, seat in zip(bots, seats, strict=True)]
        given.append((chosen[planned.seat], chosen[1 - planned.seat]))
        played.step(given[-1])
    assert len(given) > 100
    assert kept.world.frame_id == played.world.frame_id - len(given), "later steps changed what was saved"
    for controllers in given:
        kept.step(controllers)
    about = {"version": "1", "players": {}}
    assert kept.replay(about) == played.replay(about)
