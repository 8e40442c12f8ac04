"""Evaluation: whole held-out games, played end to end as a streaming policy would meet them.

Losses are plain nats per frame, in total, per head and per character, beside three baselines on the same frames.
State is carried from chunk to chunk, so a loss is the one of play, not of windows. A prediction counts for the
character that is on the stage in the observed frame.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from exphil_core.dataset.batches import stream_games
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import Ego
from exphil_core.dataset.store import ColumnStore
from exphil_core.encoding.batch import Targets, TensorBatch, characters_on_stage, targets, to_tensors
from exphil_core.encoding.own_inputs import without_own_inputs
from exphil_core.errors import DataError, UsageError
from exphil_core.melee import characters
from exphil_core.melee.controller import BUTTON_BITS
from exphil_core.models.policy import Policy, slice_frames
from exphil_core.training.baselines import NAMES as BASELINES
from exphil_core.training.baselines import Baselines
from exphil_core.training.meter import sum_by_character
from exphil_core.training.probes import Presses, Transitions, jump_onsets

CHUNK_LENGTH = 256
"""Frames a row advances per forward pass; the result does not depend on it."""

Regime = Literal["carried", "windows", "stepped"]
"""How games are shown. `carried`: chunk by chunk, state carried on from chunk to chunk. `windows`: in windows of
the training's length, each from a cleared state, as a training that carries none sees them. `stepped`: frame by
frame through the policy's step, as a player meets them. Carried and stepped are one function, by law."""

COPYCAT_FRAMES = 20_000
"""Frames on which the copycat probe runs: it costs a second forward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterResult:
    loss: float
    frames: int
    games: int
    """Those in which any of the frames is."""
    baselines: Mapping[str, float]
    press_rates: Mapping[str, Mapping[str, float]]
    """Button → {`policy`, `human`}: share of frames on which it is held, as expected and as it was."""
    floor: float | None
    """Dojo only: mean entropy of the bots' draws on these games."""
    floor_stderr: float | None
    """Dojo only: standard error that the draws themselves put on `loss` around the floor."""
    surprisal: float | None
    """Dojo only: the floor as it came out, -log p of what was drawn."""

    @property
    def best_baseline(self) -> float:
        return min(self.baselines.values())

    @property
    def closed(self) -> float | None:
        """Share of the way from the best baseline to the floor; None without a floor."""
        if self.floor is None or self.best_baseline <= self.floor:
            return None
        return (self.best_baseline - self.loss) / (self.best_baseline - self.floor)

    def fields(self) -> dict[str, object]:
        found: dict[str, object] = {"loss": self.loss, "frames": self.frames, "games": self.games}
        found |= {f"baseline_{name}": value for name, value in self.baselines.items()}
        if self.floor is not None:
            found |= {
                "floor": self.floor,
                "floor_stderr": self.floor_stderr,
                "surprisal": self.surprisal,
                "closed": self.closed,
            }
        return {**found, "press_rates": self.press_rates}


@dataclass(frozen=True, slots=True, kw_only=True)
class SideResult:
    """One side of a held-out game."""

    content_id: str
    port: int
    character: str
    frames: int
    baselines: Mapping[str, float]

    def fields(self) -> dict[str, object]:
        return {
            "content_id": self.content_id,
            "port": self.port,
            "character": self.character,
            "frames": self.frames,
            **{f"baseline_{name}": value for name, value in self.baselines.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    loss: float
    frames: int
    baselines: Mapping[str, float]
    heads: Mapping[str, float]
    per_character: Mapping[str, CharacterResult]
    transition_f1: Mapping[str, float | None]
    copycat: float | None
    """Nats by which the loss rises when the ego's own inputs are hidden: what rests on copying."""
    leaking_onsets: int
    """Of `jump_onsets`, those whose observed state is already jump squat."""
    jump_onsets: int
    """In the targets, on the ground; not counted with a delay."""
    repeat_is_best: tuple[SideResult, ...]
    """Held-out sides whose best baseline is *repeat*: scripts, or idle; the most frames first."""

    @property
    def leak_probe(self) -> float | None:
        """Share of grounded jump onsets in the target whose observed state is already jump squat."""
        return self.leaking_onsets / self.jump_onsets if self.jump_onsets else None

    def fields(self, *, step: int, split: str) -> dict[str, object]:
        """The `evaluated` event's keys (CLI.md)."""
        return {
            "step": step,
            "split": split,
            "loss": self.loss,
            "frames": self.frames,
            **{f"baseline_{name}": value for name, value in self.baselines.items()},
            "leak_probe": self.leak_probe,
            "leaking_onsets": self.leaking_onsets,
            "jump_onsets": self.jump_onsets,
            "repeat_is_best": [side.fields() for side in self.repeat_is_best],
            "per_character": {name: result.fields() for name, result in self.per_character.items()},
            "heads": dict(self.heads),
            "transition_f1": dict(self.transition_f1),
            "copycat": self.copycat,
        }


@dataclass(slots=True)
class _Sums:
    """What the counted frames add up to, by character."""

    heads: int
    table: np.ndarray = field(init=False)
    """float64 [characters, columns]; the columns are nats by head, nats by baseline, presses by button as the policy
    expects them and as they were, and frames. Rows are external ids."""
    games: set[tuple[int, int]] = field(default_factory=set)
    """(external id, game) of the counted frames."""
    sides: dict[Ego, np.ndarray] = field(default_factory=dict)
    """Nats by baseline and frames, [baselines + 1]."""

    def __post_init__(self) -> None:
        columns = self.heads + len(BASELINES) + 2 * len(BUTTON_BITS) + 1
        self.table = np.zeros((len(characters.CHARACTERS), columns))

    def parts(self, row: np.ndarray) -> tuple[np.ndarray, dict[str, float], np.ndarray, np.ndarray, float]:
        """Of a row or a sum of rows: by head, by baseline, presses expected, presses held, frames."""
        ends = np.cumsum((self.heads, len(BASELINES), len(BUTTON_BITS), len(BUTTON_BITS)))
        heads, baselines, expected, held, frames = np.split(row, ends)
        named = dict(zip(BASELINES, baselines.tolist(), strict=True))
        return heads, named, expected, held, float(frames[0])


def regime_of(name: str) -> Regime:
    """The regime of that name. UsageError where there is none."""
    regimes: tuple[Regime, ...] = get_args(Regime)
    for regime in regimes:
        if name == regime:
            return regime
    near = get_close_matches(name, regimes, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(regimes)}"
    raise UsageError(f"unknown regime '{name}'; {hint}")


def choose_games(index: DatasetIndex, egos: Iterable[Ego], max_frames: int | None) -> tuple[Ego, ...]:
    """Whole games up to about `max_frames` ego frames, spread evenly over the characters.

    Every character keeps at least one ego; None keeps all.
    """
    egos = tuple(egos)
    if max_frames is None:
        return egos
    queues: dict[int, list[Ego]] = {}
    for ego in egos:
        queues.setdefault(index.games[ego.game].sides[ego.slot].external_id, []).append(ego)
    chosen: list[Ego] = []
    frames = 0
    while any(queues.values()):
        for queue in queues.values():
            if queue and (frames < max_frames or len(chosen) < len(queues)):
                chosen.append(queue.pop(0))
                frames += index.games[chosen[-1].game].frames
        if frames >= max_frames:
            break
    return tuple(chosen)


@torch.no_grad()
def evaluate(
    policy: Policy,
    store: ColumnStore,
    egos: tuple[Ego, ...],
    baselines: Baselines,
    *,
    rows: int,
    device: torch.device,
    autocast: torch.dtype | None = None,
    regime: Regime = "carried",
    chunk_length: int | None = None,
    between_chunks: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Play every ego's game through `policy` and account for each predicted frame.

    `chunk_length` is the training's: the result depends on it where the regime is `windows`, which needs it.
    `between_chunks` may raise to give the evaluation up.
    Raises DataError when the games hold no frame that can be predicted.
    """
    components = policy.codec.components
    sums = _Sums(len(components))
    transitions = Transitions.none_yet(len(components))
    presses = Presses.of(policy.codec, device)
    leaking = onsets = 0
    copy_frames = 0.0
    copy_seen = copy_blind = 0.0
    state = blind_state = None
    was_training = policy.training
    policy.eval()
    baselines = baselines.to(device)
    rows = min(rows, len(egos))
    if regime == "windows":
        assert chunk_length is not None, "windows are as long as those of training"
    else:
        chunk_length = CHUNK_LENGTH
    try:
        for numpy_batch in stream_games(
            store, egos, rows=rows, chunk_length=chunk_length, horizon=policy.horizon
        ):
            between_chunks()
            batch = to_tensors(numpy_batch, device)
            if regime == "windows":
                state = blind_state = None
            aimed, scores, state = _score(policy, batch, batch, state, autocast, regime)
            transitions.add(scores.predicted, aimed.tokens_BTK, aimed.previous_BTK, aimed.mask_BT)
            sides = zip(numpy_batch.game.tolist(), numpy_batch.ego_slot.tolist(), strict=True)
            egos_B = [Ego(game, slot) for game, slot in sides]
            _account(sums, batch, egos_B, aimed, scores, baselines, presses)
            found = jump_onsets(numpy_batch.columns, numpy_batch.valid, policy.horizon)
            leaking, onsets = leaking + found[0], onsets + found[1]
            if copy_frames < COPYCAT_FRAMES:
                _, blind, blind_state = _score(
                    policy, batch, without_own_inputs(batch), blind_state, autocast, regime
                )
                copy_frames += float(aimed.mask_BT.sum())
                copy_seen += float((scores.nll_BTK.sum(-1) * aimed.mask_BT).sum())
                copy_blind += float((blind.nll_BTK.sum(-1) * aimed.mask_BT).sum())
    finally:
        policy.train(was_training)
    heads, by_baseline, _, _, total = sums.parts(sums.table.sum(axis=0))
    if not total:
        raise DataError("the games to evaluate on hold no frame whose controller can be predicted")
    heads = heads / total
    played = [characters.by_external_id(i) for i in np.flatnonzero(sums.table[:, -1]).tolist()]
    return Evaluation(
        loss=float(heads.sum()),
        frames=int(total),
        baselines={name: value / total for name, value in by_baseline.items()},
        heads={c.name: float(h) for c, h in zip(components, heads, strict=True)},
        per_character={
            found.name: _result(store.index, egos, found.external_id, sums)
            for found in sorted(played, key=lambda found: characters.low_tier_first(found.name))
        },
        transition_f1=dict(zip((c.name for c in components), transitions.f1(), strict=True)),
        copycat=(copy_blind - copy_seen) / copy_frames if copy_frames else None,
        leaking_onsets=leaking,
        jump_onsets=onsets,
        repeat_is_best=_repeating(store.index, sums),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    nll_BTK: Tensor
    log_probs: list[Tensor]
    """Per component [B, T, size], given the tokens before it that came."""
    predicted: Tensor
    """int64 [B, T, K]: the likeliest token of each component."""


def _score(
    policy: Policy,
    batch: TensorBatch,
    seen: TensorBatch,
    state: Any,
    autocast: torch.dtype | None,
    regime: Regime,
) -> tuple[Targets, _Scores, Any]:
    """What `policy`, shown `seen`, makes of the controllers that come in `batch`."""
    length = batch.frame_id.shape[1] - policy.horizon
    observed = slice_frames(seen, 0, length)
    aimed = targets(batch, policy.codec, horizon=policy.horizon, chunk_length=length)
    with torch.autocast(batch.frame_id.device.type, dtype=autocast, enabled=autocast is not None):
        if regime == "stepped":
            log_probs, state = _stepped(policy, observed, aimed.tokens_BTK, state)
        else:
            log_probs, state = policy.distributions(observed, aimed.tokens_BTK, state)
    nll = [
        -part.float().gather(-1, token[..., None])[..., 0]
        for part, token in zip(log_probs, aimed.tokens_BTK.unbind(-1), strict=True)
    ]
    scores = _Scores(
        nll_BTK=torch.stack(nll, dim=-1),
        log_probs=log_probs,
        predicted=torch.stack([part.argmax(-1) for part in log_probs], dim=-1),
    )
    return aimed, scores, state


def _stepped(
    policy: Policy, observed: TensorBatch, tokens_BTK: Tensor, state: Any
) -> tuple[list[Tensor], Any]:
    """`Policy.distributions`, one frame at a time."""
    y_BTD, state = policy.unroll_features(observed, state)
    return policy.head.log_probs(y_BTD, policy.previous(observed), tokens_BTK), state


def _account(
    sums: _Sums,
    batch: TensorBatch,
    egos_B: Sequence[Ego],
    aimed: Targets,
    scores: _Scores,
    baselines: Baselines,
    presses: Presses,
) -> None:
    by_baseline = [
        baselines.nll(name, aimed.tokens_BTK, aimed.previous_BTK).sum(-1, keepdim=True) for name in BASELINES
    ]
    held = presses.held(aimed.tokens_BTK)
    frames_BTN = torch.cat(
        (
            scores.nll_BTK,
            *by_baseline,
            presses.expected(scores.log_probs),
            held,
            torch.ones_like(held[..., :1]),
        ),
        dim=-1,
    ).double()
    frames_BTN = frames_BTN.masked_fill(~aimed.mask_BT[..., None], 0.0)
    external_id_BT = characters_on_stage(batch.columns, batch.external_id)[:, : aimed.mask_BT.shape[1]]
    sums.table += sum_by_character(frames_BTN, external_id_BT).cpu().numpy()
    counted_BT = torch.where(aimed.mask_BT, external_id_BT, -1).cpu().numpy()
    by_side_BN = torch.cat((*by_baseline, torch.ones_like(held[..., :1])), dim=-1).double()
    by_side_BN = by_side_BN.masked_fill(~aimed.mask_BT[..., None], 0.0).sum(dim=1)
    for ego, counted, of_side in zip(egos_B, counted_BT, by_side_BN.cpu().numpy(), strict=True):
        sums.games |= {(external_id, ego.game) for external_id in np.unique(counted).tolist()}
        sums.sides[ego] = sums.sides.get(ego, 0.0) + of_side


def _repeating(index: DatasetIndex, sums: _Sums) -> tuple[SideResult, ...]:
    found = []
    for ego, (*nats, frames) in sums.sides.items():
        if not frames or BASELINES[int(np.argmin(nats))] != "repeat":
            continue
        game = index.games[ego.game]
        side = game.sides[ego.slot]
        found.append(
            SideResult(
                content_id=game.content_id,
                port=side.port_index + 1,
                character=characters.by_external_id(side.external_id).name,
                frames=int(frames),
                baselines={name: float(total / frames) for name, total in zip(BASELINES, nats, strict=True)},
            )
        )
    return tuple(sorted(found, key=lambda side: -side.frames))


def _result(index: DatasetIndex, egos: tuple[Ego, ...], external_id: int, sums: _Sums) -> CharacterResult:
    heads, baselines, expected, held, frames = sums.parts(sums.table[external_id])
    sides = [index.games[ego.game].sides[ego.slot] for ego in egos]
    mine = [side for side in sides if external_id in side.frames_by_character]
    # A floor is known of a side, not of the part of it in which this character is on the stage.
    known = [side.floor for side in mine if side.floor is not None and len(side.frames_by_character) == 1]
    # A mean of games with a floor and games without one would be the floor of neither.
    weights = np.array([floor.frames for floor in known], float) if len(known) == len(mine) else None
    mean = (lambda values: float(np.average(values, weights=weights))) if weights is not None else None
    return CharacterResult(
        loss=float(heads.sum() / frames),
        frames=int(frames),
        games=sum(found == external_id for found, _ in sums.games),
        baselines={name: value / frames for name, value in baselines.items()},
        press_rates={
            button: {
                "policy": float(expected[k] / frames),
                "human": float(held[k] / frames),
            }
            for k, button in enumerate(BUTTON_BITS)
        },
        floor=mean([floor.entropy for floor in known]) if mean else None,
        surprisal=mean([floor.surprisal for floor in known]) if mean else None,
        floor_stderr=float(
            np.sqrt(np.sum((np.array([floor.stderr for floor in known]) * weights) ** 2)) / weights.sum()
        )
        if weights is not None
        else None,
    )
