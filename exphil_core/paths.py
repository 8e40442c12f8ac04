"""The home folder, and paths that a user typed with `~`."""

from pathlib import Path

from exphil_core.errors import UsageError


def home_folder() -> Path | None:
    """The user's home folder; None where HOME is not set and the system's list of users does not have this one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expanded(text: str) -> Path:
    """The path that `text` means, with `~` or `~USER` replaced. UsageError where that home folder is not known."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        user = text.partition("/")[0]
        raise UsageError(
            f"{text}: the home folder that '{user}' stands for is not known here; write the path out, or './{text}' "
            "for a file of that name"
        ) from error
