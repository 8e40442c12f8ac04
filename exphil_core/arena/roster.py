"""Players by name: a run or checkpoint, `bot`, `oracle` or `neutral`."""

from pathlib import Path

import torch

from exphil_core.arena.oracle import OraclePlayer
from exphil_core.arena.players import ArenaPlayer, BotPlayer, NeutralPlayer
from exphil_core.arena.policy_player import PolicyPlayer
from exphil_core.config.preset import Preset
from exphil_core.dojo.styles import STYLES
from exphil_core.errors import UsageError
from exphil_core.melee import characters
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.training.checkpoint_manager import find_checkpoint, load_for_play

SCRIPTED = ("bot", "oracle", "neutral")
"""Names of players that are no policies."""

DOJO_CHARACTERS = tuple(STYLES)
"""External ids of the characters that the dojo has."""


def load_player(
    name: str,
    *,
    runs_dir: Path,
    device: torch.device,
    temperature: float = 1.0,
    teacher: BotPlayer | None = None,
) -> tuple[ArenaPlayer, Preset | None]:
    """Build a player by its name, and return a policy's preset with it.

    Args:
        teacher: Plays instead of a policy, which only watches.

    Raises:
        UsageError: There is no such run, checkpoint or player, or the temperature is out of range.
        CheckpointError: The checkpoint cannot be read.
    """
    if name == "bot":
        return BotPlayer(), None
    if name == "oracle":
        return OraclePlayer(), None
    if name == "neutral":
        return NeutralPlayer(), None
    run, directory = _checkpoint(name, runs_dir)
    checkpoint, preset, policy = load_for_play(directory, device)
    title = f"{run.name}, step {checkpoint.step:,}"
    return PolicyPlayer(policy, name=title, temperature=temperature, teacher=teacher), preset


def located(name: str, *, runs_dir: Path) -> str:
    """Return the checkpoint directory that a policy's name means now; scripted players keep their names.

    Raises:
        UsageError: There is no such run, checkpoint or player.
    """
    return name if name in SCRIPTED else str(_checkpoint(name, runs_dir)[1])


def _checkpoint(name: str, runs_dir: Path) -> tuple[RunDirectory, Path]:
    try:
        return find_checkpoint(runs_dir, name)
    except UsageError as error:
        scripted = f"{', '.join(SCRIPTED[:-1])} or {SCRIPTED[-1]}"
        raise UsageError(f"{error} (a player is a run, a checkpoint, {scripted})") from error


def learned_in_dojo(name: str, *, runs_dir: Path) -> bool:
    """Return whether the run of a policy was judged on the dojo's games, which alone have a loss floor."""
    run, _ = find_checkpoint(runs_dir, name)
    for event in read_events(run.events_path):
        if event["type"] == "evaluated":
            return any(entry.get("floor") is not None for entry in event["per_character"].values())
    return False


def characters_of(preset: Preset | None) -> tuple[int, ...]:
    """Return the external ids that a policy was trained to play and the dojo has; all for a scripted player.

    Raises:
        UsageError: The dojo has none of the policy's characters.
    """
    if preset is None or not preset.data.characters:
        return DOJO_CHARACTERS
    wanted = [characters.by_name(name) for name in preset.data.characters]
    found = tuple(character.external_id for character in wanted if character.external_id in STYLES)
    if not found:
        there = ", ".join(characters.by_external_id(one).title for one in DOJO_CHARACTERS)
        names = ", ".join(character.title for character in wanted)
        raise UsageError(f"the policy plays {names}, whom the dojo does not have; the dojo has {there}")
    return found
