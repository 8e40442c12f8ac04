"""Evaluation tables, shown at the end of a run and by `exphil eval`.

A loss below the floor by more than sampling error means that the targets leak, so it is marked.
"""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from exphil_core.cli.format import nats, table
from exphil_core.melee import characters
from exphil_core.replays.leak_probe import leak_sentence
from exphil_core.runs.suspicious_sides import repeat_sentence

NLL_CAVEAT = (
    "Losses are in nats per frame, without label smoothing or weights. A lower loss does not mean stronger play: "
    "compare several seeds, then games."
)

REPEAT_MARK = " !"
"""Mark for a character with a held-out side whose best baseline is *repeat*."""

SIGMAS = 3.0
"""Number of standard errors below the floor from which a loss counts as below it."""


def evaluation_table(fields: Mapping[str, Any], *, title: str) -> RenderableType:
    """Render the loss per character with the three baselines and, where known, the floor."""
    per_character: Mapping[str, Mapping[str, Any]] = fields["per_character"]
    repeating = {side["character"] for side in fields.get("repeat_is_best", ())}
    floors = any("floor" in entry for entry in per_character.values())
    right = [
        "games",
        "frames",
        "loss",
        "marginal",
        "repeat",
        "markov",
        *(["floor", "gap closed"] if floors else []),
    ]
    found = table(("character",), right=right, title=title)
    for name, entry in per_character.items():
        title = characters.by_name(name).title + (REPEAT_MARK if name in repeating else "")
        row = [title, str(entry["games"]), f"{entry['frames']:,}", *_losses(entry)]
        if floors:
            row += [nats(entry.get("floor")), _closed(entry)]
        found.add_row(*row)
    total = ["all", "", f"{fields['frames']:,}", *_losses(fields)]
    found.add_row(*total, *(["", ""] if floors else []), style="bold")
    return Group(found, "", _by_component(fields), "", *(Text(line) for line in _notes(fields, floors)))


def neighbours_table(neighbours: Mapping[str, Mapping[str, float]]) -> RenderableType:
    """Render each character's nearest neighbours in the learned embedding."""
    found = table(("character", "nearest in the learned embedding, by cosine"), right=())
    for name, nearest in neighbours.items():
        others = ", ".join(
            f"{characters.by_name(other).title} {value:.2f}" for other, value in nearest.items()
        )
        found.add_row(characters.by_name(name).title, others)
    return found


def _by_component(fields: Mapping[str, Any]) -> Table:
    """Render the loss and the transition F1 of each controller component."""
    found = table(("component",), right=("loss", "transition F1"))
    for name, loss in fields["heads"].items():
        found.add_row(name, nats(loss), nats(fields["transition_f1"].get(name)))
    return found


def _losses(entry: Mapping[str, Any]) -> list[str]:
    return [nats(entry[key]) for key in ("loss", "baseline_marginal", "baseline_repeat", "baseline_markov")]


def _closed(entry: Mapping[str, Any]) -> str:
    if entry.get("closed") is None:
        return "–"
    return f"{entry['closed']:.0%}" + (" below floor!" if is_below_floor(entry) else "")


def is_below_floor(entry: Mapping[str, Any]) -> bool:
    """Return whether a character's loss is more than `SIGMAS` standard errors below its floor."""
    return entry.get("floor") is not None and entry["loss"] < entry["floor"] - SIGMAS * entry["floor_stderr"]


def _notes(fields: Mapping[str, Any], floors: bool) -> list[str]:
    lines = [NLL_CAVEAT]
    if floors:
        errors = [
            e["floor_stderr"] for e in fields["per_character"].values() if e.get("floor_stderr") is not None
        ]
        lines.append(
            "gap closed: share of the way from the best baseline to the floor (the entropy of the bots' draws; "
            f"sampling error of a character's loss around it up to {max(errors):.4f})."
        )
    beaten = min(fields[f"baseline_{name}"] for name in ("marginal", "repeat", "markov"))
    verdict = "below" if fields["loss"] < beaten else "NOT below"
    lines.append(f"Total loss {fields['loss']:.3f} is {verdict} the best baseline, {beaten:.3f}.")
    probes = []
    if fields.get("jump_onsets"):
        probes.append(leak_sentence(fields["leaking_onsets"], fields["jump_onsets"]))
    if fields.get("copycat") is not None:
        change = f"{fields['copycat']:+.2f} nats"
        probes.append(f"copycat probe: the loss changes by {change} when the policy's own inputs are hidden")
    lines += [probe[0].upper() + probe[1:] + "." for probe in probes]
    if sides := fields.get("repeat_is_best"):
        lines.append(f"{REPEAT_MARK.strip()} {repeat_sentence(sides)}.")
    return lines
