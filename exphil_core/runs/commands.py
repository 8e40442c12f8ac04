"""Commands as they are typed: what a message tells a person to do next."""

import shlex
from pathlib import Path

DEFAULT_RUNS_DIR = Path("checkpoints")
"""Where runs are kept unless `--runs-dir` says otherwise, from the folder that exphil is started in."""


def typed_command(runs_dir: Path, *words: str) -> str:
    """`exphil WORDS`, with `--runs-dir` where the runs are not kept in the default folder."""
    return " ".join(map(quoted, ("exphil", *words, *runs_dir_words(runs_dir))))


def runs_dir_words(runs_dir: Path) -> tuple[str, ...]:
    """`--runs-dir DIR` as words; none for the default folder."""
    if runs_dir.absolute() == DEFAULT_RUNS_DIR.absolute():
        return ()
    return ("--runs-dir", str(runs_dir))


def quoted(word: str) -> str:
    """A word for a shell, on one line and printable whatever is in it (`$'…'` is what bash and zsh know)."""
    if word.isprintable():
        return shlex.quote(word)
    raw = word.encode("utf-8", "surrogateescape")
    return "$'" + "".join(_escaped(byte) for byte in raw) + "'"


def _escaped(byte: int) -> str:
    letter = chr(byte)
    if letter in "\\'":
        return "\\" + letter
    return letter if 32 <= byte < 127 else f"\\x{byte:02x}"
