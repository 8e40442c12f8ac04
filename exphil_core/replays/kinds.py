"""Classify files by name: replay, compressed replay, archive of replays, unsupported, other."""

import re
from typing import Literal

Kind = Literal["replay", "compressed", "archive", "unsupported", "other"]

REPLAY_SUFFIX = ".slp"
COMPRESSED_SUFFIXES = (".gz", ".xz", ".lzma", ".bz2", ".zst", ".slpz")
TAR_SUFFIXES = (
    ".tar",
    *(f".tar{suffix}" for suffix in (".gz", ".xz", ".lzma", ".bz2", ".zst")),
    *(".tgz", ".txz", ".tlz", ".tbz", ".tbz2", ".tzst"),
)
ARCHIVE_SUFFIXES = (".zip", ".7z", *TAR_SUFFIXES)

SUPPORTED_FORMATS = (
    ".slp, .slp.gz, .slp.xz, .slp.bz2, .slp.zst and .slpz files, or .zip, .7z and .tar archives"
)
"""Supported formats, for error messages."""

_UNPACK_IT = "unpack it first, or pack it again as .zip, .7z or .tar.gz"
_UNSUPPORTED = {
    ".rar": _UNPACK_IT,
    ".zipx": _UNPACK_IT,
    ".lz": _UNPACK_IT,
    ".lz4": _UNPACK_IT,
    ".z": _UNPACK_IT,
    ".zlp": "unpack it first with slippc",
}
_PART = re.compile(r"\.(?:zip|7z|rar|tar|tgz|gz|xz|bz2|zst)\.\d{3}$|\.[zr]\d\d$")


def kind_of(name: str) -> Kind:
    """Return the kind of a file by its name, ignoring case."""
    lower = name.lower()
    if lower.startswith("._"):  # metadata files that macOS adds on foreign disks and in archives
        return "other"
    if lower.endswith(REPLAY_SUFFIX):
        return "replay"
    if lower.endswith(ARCHIVE_SUFFIXES):
        return "archive"
    if lower.endswith(COMPRESSED_SUFFIXES):
        return "compressed"
    if lower.endswith(tuple(_UNSUPPORTED)) or _PART.search(lower):
        return "unsupported"
    return "other"


def unsupported_advice(name: str) -> str:
    """Return advice on how to convert an unsupported file with this name."""
    lower = name.lower()
    return next(
        (helps for suffix, helps in _UNSUPPORTED.items() if lower.endswith(suffix)), "join its parts first"
    )


def suffix_of(name: str) -> str:
    """Return the suffix that tells a replay's kind, for a copy under another name."""
    lower = name.lower()
    return next((suffix for suffix in COMPRESSED_SUFFIXES if lower.endswith(suffix)), REPLAY_SUFFIX)
