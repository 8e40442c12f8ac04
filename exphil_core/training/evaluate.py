"""Evaluate a policy on whole held-out games, with state carried from chunk to chunk as in play.

Losses are plain nats per frame, in total, per head and per character, beside three baselines on the same
frames. A prediction counts for the character that is on the stage in the observed frame.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from exphil_core.dataset.batches import Batch, stream_games
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import Ego
from exphil_core.dataset.store import ColumnStore
from exphil_core.encoding.action_dropout import neutralize_own_actions
from exphil_core.encoding.batch import Targets, TensorBatch, build_targets, characters_by_frame, to_tensors
from exphil_core.errors import DataError, UsageError
from exphil_core.melee import characters
from exphil_core.melee.controller import BUTTON_BITS
from exphil_core.models.policy import Policy, slice_frames
from exphil_core.suggest import suggestion
from exphil_core.training.baselines import NAMES as BASELINES
from exphil_core.training.baselines import Baselines
from exphil_core.training.diagnostics import ButtonTable, Transitions, jump_onsets
from exphil_core.training.metrics import sum_by_character

CHUNK_LENGTH = 256
"""Frames per row and forward pass; the result does not depend on it."""

Regime = Literal["carried", "windows", "stepped"]
"""How games are evaluated. `carried`: chunk by chunk, with carried state. `windows`: in windows of the training
length, each from a cleared state, as in training without carried state. `stepped`: frame by frame through the
policy's step, as in play. `carried` and `stepped` must give the same result."""

COPYCAT_FRAMES = 20_000
"""Frames that the copycat probe runs on; it costs a second forward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterResult:
    """Evaluation of one character's frames."""

    loss: float
    frames: int
    games: int
    """Games that contain any of the frames."""
    baselines: Mapping[str, float]
    press_rates: Mapping[str, Mapping[str, float]]
    """Button → {`policy`, `human`}: expected and actual share of frames on which it is held."""
    floor: float | None
    """Dojo only: mean entropy of the bots' random choices in these games."""
    floor_stderr: float | None
    """Dojo only: standard error of `loss` around the floor that the random choices cause."""
    surprisal: float | None
    """Dojo only: mean -log p of the choices that were drawn."""

    @property
    def best_baseline(self) -> float:
        return min(self.baselines.values())

    @property
    def closed(self) -> float | None:
        """Gap closed: share of the way from the best baseline to the floor; None without a floor."""
        if self.floor is None or self.best_baseline <= self.floor:
            return None
        return (self.best_baseline - self.loss) / (self.best_baseline - self.floor)

    def fields(self) -> dict[str, object]:
        """Return the character's entry in the `evaluated` event."""
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
    """Baselines on one side of a held-out game."""

    content_id: str
    port: int
    character: str
    frames: int
    baselines: Mapping[str, float]

    def fields(self) -> dict[str, object]:
        """Return the side's entry in the `evaluated` event."""
        return {
            "content_id": self.content_id,
            "port": self.port,
            "character": self.character,
            "frames": self.frames,
            **{f"baseline_{name}": value for name, value in self.baselines.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Results of an evaluation."""

    loss: float
    frames: int
    baselines: Mapping[str, float]
    heads: Mapping[str, float]
    per_character: Mapping[str, CharacterResult]
    transition_f1: Mapping[str, float | None]
    copycat: float | None
    """Nats by which the loss rises when the ego's own inputs are hidden: how much relies on copying."""
    leaking_onsets: int
    """Onsets among `jump_onsets` whose observed state is already jump squat."""
    jump_onsets: int
    """Grounded jump onsets in the targets; not counted with a delay."""
    repeat_is_best: tuple[SideResult, ...]
    """Held-out sides whose best baseline is *repeat* (scripts or idle players), the most frames first."""

    @property
    def leak_probe(self) -> float | None:
        """Share of grounded jump onsets in the target whose observed state is already jump squat."""
        return self.leaking_onsets / self.jump_onsets if self.jump_onsets else None

    def fields(self, *, step: int, split: str) -> dict[str, object]:
        """Return the fields of the `evaluated` event."""
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
    """Sums over the counted frames, by character and by side."""

    heads: int
    table: np.ndarray = field(init=False)
    """float64 [characters, columns], rows by external id. Columns: nats by head, nats by baseline, expected
    presses by button, actual presses by button, frames."""
    games: set[tuple[int, int]] = field(default_factory=set)
    """(external id, game) of the counted frames."""
    sides: dict[Ego, np.ndarray] = field(default_factory=dict)
    """Nats by baseline, then frames, [baselines + 1]."""

    def __post_init__(self) -> None:
        columns = self.heads + len(BASELINES) + 2 * len(BUTTON_BITS) + 1
        self.table = np.zeros((len(characters.CHARACTERS), columns))

    def parts(self, row: np.ndarray) -> tuple[np.ndarray, dict[str, float], np.ndarray, np.ndarray, float]:
        """Split a row or a sum of rows: nats by head, nats by baseline, presses expected, presses held, frames."""
        ends = np.cumsum((self.heads, len(BASELINES), len(BUTTON_BITS), len(BUTTON_BITS)))
        heads, baselines, expected, held, frames = np.split(row, ends)
        named = dict(zip(BASELINES, baselines.tolist(), strict=True))
        return heads, named, expected, held, float(frames[0])


def regime_of(name: str) -> Regime:
    """Return the regime of that name.

    Raises:
        UsageError: there is none.
    """
    regimes: tuple[Regime, ...] = get_args(Regime)
    for regime in regimes:
        if name == regime:
            return regime
    raise UsageError(f"unknown regime '{name}'; {suggestion(name, regimes)}")


def choose_games(index: DatasetIndex, egos: Iterable[Ego], max_frames: int | None) -> tuple[Ego, ...]:
    """Choose whole games up to about `max_frames` ego frames, spread evenly over the characters.

    Every character keeps at least one ego. None keeps all.
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
    """Evaluate `policy` on the whole game of every ego.

    Args:
        rows: games per forward pass.
        autocast: dtype of the forward passes; None is float32.
        regime: how games are evaluated, see `Regime`.
        chunk_length: window length in training, which the regime `windows` needs; others ignore it.
        between_chunks: may raise to abort the evaluation.

    Raises:
        DataError: no frame of the games can be predicted.
    """
    components = policy.codec.components
    sums = _Sums(len(components))
    transitions = Transitions.none_yet(len(components))
    presses = ButtonTable.of(policy.codec, device)
    leaking = onsets = 0
    copycat = _CopycatProbe()
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
            targets, scores, state = _score(policy, batch, batch, state, autocast, regime)
            transitions.add(scores.predicted, targets.tokens_BTK, targets.previous_BTK, targets.mask_BT)
            _account(sums, batch, _egos_of(numpy_batch), targets, scores, baselines, presses)
            found = jump_onsets(numpy_batch.columns, numpy_batch.valid, policy.horizon)
            leaking, onsets = leaking + found[0], onsets + found[1]
            if copycat.frames < COPYCAT_FRAMES:
                _, blind, blind_state = _score(
                    policy, batch, neutralize_own_actions(batch), blind_state, autocast, regime
                )
                copycat.add(scores, blind, targets.mask_BT)
    finally:
        policy.train(was_training)
    heads, by_baseline, _, _, total = sums.parts(sums.table.sum(axis=0))
    if not total:
        raise DataError("the games to evaluate on have no frame with a usable controller state")
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
        copycat=copycat.nats,
        leaking_onsets=leaking,
        jump_onsets=onsets,
        repeat_is_best=_repeating(store.index, sums),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    nll_BTK: Tensor
    log_probs: list[Tensor]
    """Per component [B, T, size], given the actual tokens of the components before it."""
    predicted: Tensor
    """Likeliest token of each component, int64 [B, T, K]."""


@dataclass(slots=True)
class _CopycatProbe:
    """Summed loss with the ego's own inputs shown and hidden."""

    frames: float = 0.0
    shown: float = 0.0
    hidden: float = 0.0

    def add(self, shown: _Scores, hidden: _Scores, mask_BT: Tensor) -> None:
        self.frames += float(mask_BT.sum())
        self.shown += float((shown.nll_BTK.sum(-1) * mask_BT).sum())
        self.hidden += float((hidden.nll_BTK.sum(-1) * mask_BT).sum())

    @property
    def nats(self) -> float | None:
        """Rise of the loss per frame where the own inputs are hidden; None without frames."""
        return (self.hidden - self.shown) / self.frames if self.frames else None


def _egos_of(batch: Batch) -> list[Ego]:
    sides = zip(batch.game.tolist(), batch.ego_slot.tolist(), strict=True)
    return [Ego(game, slot) for game, slot in sides]


def _score(
    policy: Policy,
    batch: TensorBatch,
    seen: TensorBatch,
    state: Any,
    autocast: torch.dtype | None,
    regime: Regime,
) -> tuple[Targets, _Scores, Any]:
    """Score the controllers of `batch` with a policy that observes `seen`."""
    length = batch.frame_id.shape[1] - policy.horizon
    observed = slice_frames(seen, 0, length)
    targets = build_targets(batch, policy.codec, horizon=policy.horizon, chunk_length=length)
    with torch.autocast(batch.frame_id.device.type, dtype=autocast, enabled=autocast is not None):
        if regime == "stepped":
            log_probs, state = _stepped(policy, observed, targets.tokens_BTK, state)
        else:
            log_probs, state = policy.distributions(observed, targets.tokens_BTK, state)
    nll = [
        -part.float().gather(-1, token[..., None])[..., 0]
        for part, token in zip(log_probs, targets.tokens_BTK.unbind(-1), strict=True)
    ]
    scores = _Scores(
        nll_BTK=torch.stack(nll, dim=-1),
        log_probs=log_probs,
        predicted=torch.stack([part.argmax(-1) for part in log_probs], dim=-1),
    )
    return targets, scores, state


def _stepped(
    policy: Policy, observed: TensorBatch, tokens_BTK: Tensor, state: Any
) -> tuple[list[Tensor], Any]:
    """Compute `Policy.distributions` one frame at a time."""
    y_BTD, state = policy.unroll_features(observed, state)
    return policy.head.log_probs(y_BTD, policy.previous(observed), tokens_BTK), state


def _account(
    sums: _Sums,
    batch: TensorBatch,
    egos_B: Sequence[Ego],
    targets: Targets,
    scores: _Scores,
    baselines: Baselines,
    presses: ButtonTable,
) -> None:
    by_baseline = [
        baselines.nll(name, targets.tokens_BTK, targets.previous_BTK).sum(-1, keepdim=True)
        for name in BASELINES
    ]
    held = presses.held(targets.tokens_BTK)
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
    frames_BTN = frames_BTN.masked_fill(~targets.mask_BT[..., None], 0.0)
    external_id_BT = characters_by_frame(batch.columns, batch.external_id)[:, : targets.mask_BT.shape[1]]
    sums.table += sum_by_character(frames_BTN, external_id_BT).cpu().numpy()
    counted_BT = torch.where(targets.mask_BT, external_id_BT, -1).cpu().numpy()
    by_side_BN = torch.cat((*by_baseline, torch.ones_like(held[..., :1])), dim=-1).double()
    by_side_BN = by_side_BN.masked_fill(~targets.mask_BT[..., None], 0.0).sum(dim=1)
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
    # A floor is known for a whole side, not for the frames in which one of its characters is on the stage.
    known = [side.floor for side in mine if side.floor is not None and len(side.frames_by_character) == 1]
    # A mean over games with and without a floor would be the floor of neither.
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
