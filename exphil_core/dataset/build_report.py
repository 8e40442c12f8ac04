"""The result of a dataset build: what was kept, what was not, and why."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from exphil_core.dataset.sources import SourceEntry

_NOT_KEPT: tuple[Literal["refused", "filtered"], ...] = ("refused", "filtered")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotKept:
    """A refused or filtered source."""

    status: Literal["refused", "filtered"]
    reason: str
    """A key of `REASONS`, or a predicate's name."""
    path: str
    member: str
    detail: str
    """A sentence that names the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """Result of a build. Counts are of the sources in the paths now, read in this build or an earlier one."""

    path: str
    kept: int
    filtered: Mapping[str, int]
    """Name of a predicate → sources that it removed."""
    refused: Mapping[str, int]
    """Reason → sources."""
    salvaged: int
    repaired: int
    """Kept games that needed a repair to be read."""
    duplicates: int
    """Sources whose game is kept from another source."""
    twins: int
    """Duplicates whose recording differs from the kept one, such as the other player's."""
    duplicate_of: Mapping[str, str]
    """Source → the source that was kept; also in `sources.parquet`."""
    games: int
    frames: int
    per_character: Mapping[str, Mapping[str, int]]
    """Name → `games` and `frames` with it on the stage; a frame of a ditto counts twice."""
    sources: int
    """kept + duplicates + filtered + refused."""
    new_sources: int
    """Sources read in this build, with a new or changed outcome."""
    unverified: int
    """Sources whose folder or archive cannot be read now; they count with the result of an earlier build."""
    ignored: int
    """Other files: by their names neither replays nor archives."""
    unlisted: int
    """Games in the shards that are no longer in the paths."""
    seconds: float
    frames_per_s: float
    """Frames written per second of this build."""
    not_kept: tuple[NotKept, ...]
    """The refused sources, then the filtered ones."""

    def fields(self) -> dict[str, object]:
        """Return the fields of `exphil data build --json`."""
        return asdict(self)

    def counts(self) -> dict[str, object]:
        """Return the fields for `dataset.json`, which is read often and so omits the long lists."""
        return {
            name: value for name, value in self.fields().items() if name not in ("duplicate_of", "not_kept")
        }


def not_kept_sources(current: Sequence[SourceEntry]) -> tuple[NotKept, ...]:
    return tuple(
        NotKept(status=status, reason=entry.reason, path=entry.path, member=entry.member, detail=entry.detail)
        for status in _NOT_KEPT
        for entry in current
        if entry.status == status
    )


def counted(reasons: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(reasons).items()))
