"""A dojo match's settings: players, ports, stage and seed. The same settings give the same match, byte for byte."""

from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Final

from exphil_core.dojo.world import DOJO_STAGES
from exphil_core.melee.characters import LOW_TIER, by_name
from exphil_core.melee.stages import Stage

_EXTERNAL_IDS: Final = tuple(by_name(name).external_id for name in LOW_TIER)
_PAIRINGS: Final = tuple((first, second) for first in _EXTERNAL_IDS for second in _EXTERNAL_IDS)
_PORTS: Final = ((0, 1), (0, 2), (1, 3), (2, 3), (0, 3), (1, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The settings of one game: players, ports, stage and seed."""

    number: int
    seed: int
    stage: Stage
    external_ids: tuple[int, int]
    port_indices: tuple[int, int]
    echo: int = 0
    """Both bots repeat the step that the opponent took this many frames ago; 0 turns that off."""

    @property
    def file_name(self) -> str:
        first, second = (LOW_TIER[_EXTERNAL_IDS.index(external_id)] for external_id in self.external_ids)
        echo = f"_echo{self.echo}" if self.echo else ""
        return f"dojo{echo}_{self.seed}_{self.number:05d}_{first}_vs_{second}_{self.stage.name}.slp"

    @property
    def match_id(self) -> str:
        """The id that the replay carries."""
        echo = f"-echo{self.echo}" if self.echo else ""
        return f"mode.dojo-{self.seed}-{self.number}{echo}"

    @property
    def random_seed(self) -> int:
        """The random seed that the replay carries, 32 bits."""
        return seeded(self.seed, "game", self.number).getrandbits(32)

    def inputs(self, player: int) -> Random:
        """Return the generator that draws a player's inputs."""
        return seeded(self.seed, "inputs", self.number, player)


def plan_match(seed: int, number: int, *, echo: int = 0) -> Match:
    """Plan a match: rounds of all 25 pairings, each round shuffled; random stage and ports."""
    round_number, place = divmod(number, len(_PAIRINGS))
    order = list(_PAIRINGS)
    seeded(seed, "round", round_number).shuffle(order)
    chance = seeded(seed, "match", number)
    return Match(
        number=number,
        seed=seed,
        stage=DOJO_STAGES[chance.randrange(len(DOJO_STAGES))],
        external_ids=order[place],
        port_indices=_PORTS[chance.randrange(len(_PORTS))],
        echo=echo,
    )


def seeded(seed: int, *purpose: str | int) -> Random:
    """Return an independent generator for each purpose, equal on every machine."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return Random(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big"))
