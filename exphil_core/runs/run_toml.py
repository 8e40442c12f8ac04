"""`run.toml`: what a run was started with — preset, dataset, versions — written once and never changed."""

import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exphil_core.config.toml import write_toml
from exphil_core.errors import UsageError
from exphil_core.replays.text import storable
from exphil_core.runs.provenance import git_revision, package_versions

if TYPE_CHECKING:
    from exphil_core.config.preset import Preset

RUN_TOML_VERSION = 2
"""Version 2 has the settings' present names."""


def run_toml(
    preset: "Preset", *, dataset: Path, fingerprint: str, sources: Sequence[str], reasons: Sequence[str]
) -> str:
    """Return the content of a new run's `run.toml`."""
    # Imported here: presets take a tenth of a second to import, and viewers do not need them.
    from exphil_core.config.preset import plain_values

    values: dict[str, object] = {
        "v": RUN_TOML_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "dataset": {
            "path": str(dataset),
            "fingerprint": fingerprint,
            "sources": list(map(storable, sources)),
        },
        "packages": package_versions(),
        "reasons": list(reasons),
        "preset": plain_values(preset),
    }
    if (revision := git_revision()) is not None:
        values["git_revision"] = revision
    return write_toml(values)


def read_run_toml(path: Path) -> Mapping[str, Any]:
    """Read a `run.toml`. UsageError if it is missing, damaged or of another version."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    except FileNotFoundError as error:
        raise UsageError(f"{path} is gone: the run was deleted or moved") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if values.get("v") != RUN_TOML_VERSION:
        packages = values.get("packages")
        wrote = packages.get("exphil", "unknown") if isinstance(packages, dict) else "unknown"
        raise UsageError(
            f"{path} is of version {values.get('v')}, written by exphil {wrote}; this exphil reads version "
            f"{RUN_TOML_VERSION}: start a new run, or use the exphil that wrote it"
        )
    for table, keys in (("preset", ()), ("dataset", ("path", "fingerprint"))):
        found = values.get(table)
        if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in keys):
            needed = " and ".join(keys)
            raise UsageError(f"{path} is damaged: expected a table [{table}]{needed and f' with {needed}'}")
    return values
