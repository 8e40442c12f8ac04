"""Scores of matches: net stocks per active minute, win rate and what else happened, with intervals.

A perfect imitator of its opponent scores 0 stocks a minute and wins half of its matches.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from exphil_core.arena.plan import ArenaMatch
from exphil_core.arena.players import Excess
from exphil_core.dojo.world import Frame, Post
from exphil_core.melee import characters
from exphil_core.melee.frames import FIRST_PLAYABLE_FRAME_ID

FRAMES_A_MINUTE = 3600

ALONE_FRAMES = 180
"""A stock is a self-destruct if its player was not hit in so many frames before."""

RESAMPLES = 2000
"""Bootstrap samples of an interval."""

FEWEST_PAIRS = 4
"""Pairs of matches from which there is an interval."""

LEAST_PAIRS = 8
"""Pairs of matches of every pairing of characters from which an interval draws within pairings."""

_CONFIDENCE = 95.0
_Z = 1.959964
"""Normal quantile of a 95 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GameScore:
    """One match from the first player's view."""

    number: int
    pair: int
    character: str
    opponent: str
    stage: str
    seat: int
    frames: int
    """Frames in which inputs count."""
    taken: int
    """Stocks that the opponent lost."""
    lost: int
    damage: float
    """Percent dealt."""
    received: float
    self_destructs: int
    won: float
    """1 for a win, 0 for a loss, 0.5 for equal stocks and percent when the time is up."""

    excess: Excess | None = None
    """Of a policy: sums over frames."""

    @property
    def net(self) -> int:
        return self.taken - self.lost


class ScoreCounter:
    """Counts one match frame by frame."""

    def __init__(self, planned: ArenaMatch) -> None:
        self._planned = planned
        self._before: tuple[Post, Post] | None = None
        self._frames = 0
        self._lost = [0, 0]
        self._received = [0.0, 0.0]
        self._alone = [0, 0]
        """Stocks lost without a hit in the last `ALONE_FRAMES`."""
        self._since_hit = [ALONE_FRAMES, ALONE_FRAMES]
        self._posts: tuple[Post, Post] | None = None

    def add(self, frame: Frame) -> None:
        """Count the next frame."""
        if frame.frame_id >= FIRST_PLAYABLE_FRAME_ID:
            self._frames += 1
        self._posts = frame.posts
        if self._before is not None:
            for side, (before, now) in enumerate(zip(self._before, frame.posts, strict=True)):
                self._since_hit[side] += 1
                if now.percent > before.percent:
                    self._received[side] += now.percent - before.percent
                    self._since_hit[side] = 0
                if now.stocks < before.stocks:
                    self._lost[side] += 1
                    self._alone[side] += self._since_hit[side] >= ALONE_FRAMES
        self._before = frame.posts

    def score(self, excess: Excess | None = None) -> GameScore:
        """Return the score of the match so far."""
        assert self._posts is not None
        own, other = self._planned.seat, 1 - self._planned.seat
        first, second = self._posts[own], self._posts[other]
        standing, against = (first.stocks, -first.percent), (second.stocks, -second.percent)
        return GameScore(
            number=self._planned.number,
            pair=self._planned.pair,
            character=characters.by_external_id(self._planned.character(0)).name,
            opponent=characters.by_external_id(self._planned.character(1)).name,
            stage=self._planned.match.stage.name,
            seat=own,
            frames=self._frames,
            taken=self._lost[other],
            lost=self._lost[own],
            damage=self._received[other],
            received=self._received[own],
            self_destructs=self._alone[own],
            won=0.5 if standing == against else float(standing > against),
            excess=excess,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float | None
    """None, as `high`, for fewer than `FEWEST_PAIRS` pairs of matches."""
    high: float | None

    def range(self, form: str) -> str:
        """Format the interval's ends, such as `range("+.2f")`."""
        return "–" if self.low is None or self.high is None else f"{self.low:{form}} to {self.high:{form}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaScore:
    """The scores of several matches together."""

    games: int
    minutes: float
    """Active minutes."""
    net_stocks: Interval
    """Stocks taken less stocks lost, per active minute."""
    win_rate: Interval
    taken: float
    """Stocks per active minute, as all that follows."""
    lost: float
    damage: float
    received: float
    self_destructs: float
    minutes_a_game: float
    excess: Interval | None
    """On-policy excess: nats per frame above the bot's entropy, on the states of these matches; None for a bot."""
    bot_entropy: float | None
    """Nats per frame."""

    def fields(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def combined(scores: Sequence[GameScore], *, seed: int = 0) -> ArenaScore:
    """Score at least one match. Intervals resample whole pairs: the two matches of a pair have the same luck."""
    assert scores, "no match was played"
    minutes = sum(score.frames for score in scores) / FRAMES_A_MINUTE
    compared = [(score, score.excess) for score in scores if score.excess is not None and score.excess.frames]
    won = sum(score.won for score in scores)
    return ArenaScore(
        games=len(scores),
        minutes=minutes,
        net_stocks=_ratio(
            scores, [(score.net, score.frames / FRAMES_A_MINUTE) for score in scores], seed=seed
        ),
        win_rate=wilson(won, len(scores)),
        taken=sum(score.taken for score in scores) / minutes,
        lost=sum(score.lost for score in scores) / minutes,
        damage=sum(score.damage for score in scores) / minutes,
        received=sum(score.received for score in scores) / minutes,
        self_destructs=sum(score.self_destructs for score in scores) / minutes,
        minutes_a_game=minutes / len(scores),
        excess=_ratio(
            [score for score, _ in compared], [(one.nats, one.frames) for _, one in compared], seed=seed
        )
        if compared
        else None,
        bot_entropy=sum(one.entropy for _, one in compared) / sum(one.frames for _, one in compared)
        if compared
        else None,
    )


def by(scores: Iterable[GameScore], *keys: str) -> dict[tuple[str, ...], ArenaScore]:
    """Score groups of matches, such as `by(scores, "character", "opponent")`."""
    groups: dict[tuple[str, ...], list[GameScore]] = {}
    for score in scores:
        groups.setdefault(tuple(str(getattr(score, key)) for key in keys), []).append(score)
    return {key: combined(group) for key, group in sorted(groups.items())}


def wilson(successes: float, trials: int) -> Interval:
    """Return a share with its Wilson interval (Wilson, 1927)."""
    share, spread = successes / trials, _Z * _Z / trials
    half = _Z * np.sqrt((share * (1 - share) + spread / 4) / trials)
    low, high = (float(share + spread / 2 + sign * half) / (1 + spread) for sign in (-1, 1))
    return Interval(value=share, low=max(0.0, low), high=min(1.0, high))


def _ratio(scores: Sequence[GameScore], parts: Sequence[tuple[float, float]], *, seed: int) -> Interval:
    """Return the sum of numerators over the sum of denominators; parts are (numerator, denominator) of each match.

    Pairs are drawn within their pairing of characters, as they are planned: how pairings differ is no error. If any
    pairing has fewer than `LEAST_PAIRS`, all are drawn together.
    """
    pairs: dict[tuple[str, str], dict[int, list[float]]] = {}
    for score, (above, below) in zip(scores, parts, strict=True):
        sums = pairs.setdefault((score.character, score.opponent), {}).setdefault(score.pair, [0.0, 0.0])
        sums[0] += above
        sums[1] += below
    value = float(np.sum([above for above, _ in parts]) / np.sum([below for _, below in parts]))
    if sum(len(group) for group in pairs.values()) < FEWEST_PAIRS:
        return Interval(value=value, low=None, high=None)
    strata = [np.array(list(group.values())) for _, group in sorted(pairs.items())]
    if min(len(group) for group in strata) < LEAST_PAIRS:
        strata = [np.concatenate(strata)]
    chance = np.random.default_rng(seed)
    found = np.sum([group.sum(0) for group in strata], axis=0)[None].repeat(RESAMPLES, axis=0)
    for group in strata:
        count = len(group)
        drawn = group[chance.integers(count, size=(RESAMPLES, count))].sum(1)
        # Resampling n pairs alone has (n - 1) / n of the variance.
        found += np.sqrt(count / (count - 1)) * (drawn - group.sum(0))
    margin = (100 - _CONFIDENCE) / 2
    low, high = np.percentile(found[:, 0] / found[:, 1], (margin, 100 - margin))
    return Interval(value=value, low=float(low), high=float(high))
