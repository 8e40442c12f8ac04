"""Shell commands that messages tell the user to run."""

import shlex
from pathlib import Path

DEFAULT_RUNS_DIR = Path("checkpoints")
"""Default of `--runs-dir`, relative to the folder that exphil is started in."""


def shell_command(runs_dir: Path, *words: str) -> str:
    """Return `exphil WORDS`, with `--runs-dir` if the runs are not in the default folder."""
    return " ".join(map(quoted, ("exphil", *words, *runs_dir_words(runs_dir))))


def runs_dir_words(runs_dir: Path) -> tuple[str, ...]:
    """Return `--runs-dir DIR` as words; none for the default folder."""
    if runs_dir.absolute() == DEFAULT_RUNS_DIR.absolute():
        return ()
    return ("--runs-dir", str(runs_dir))


def quoted(word: str) -> str:
    """Quote a word for a shell, on one printable line; other characters use `$'…'` (bash and zsh)."""
    if word.isprintable():
        return shlex.quote(word)
    raw = word.encode("utf-8", "surrogateescape")
    return "$'" + "".join(_escaped(byte) for byte in raw) + "'"


def _escaped(byte: int) -> str:
    letter = chr(byte)
    if letter in "\\'":
        return "\\" + letter
    return letter if 32 <= byte < 127 else f"\\x{byte:02x}"
