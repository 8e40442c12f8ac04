"""The user's home folder, `~` expansion of typed paths, and the checkout's folder."""

from pathlib import Path

from exphil_core.errors import UsageError


def home_folder() -> Path | None:
    """Return the user's home folder; None where HOME is unset and the user is not in the system's user list."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expand_user(text: str) -> Path:
    """Expand `~` or `~USER` in `text`. UsageError where that home folder is unknown."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        user = text.partition("/")[0]
        raise UsageError(
            f"{text}: the home folder that '{user}' stands for is not known here; write the path out, or './{text}' "
            "for a file of that name"
        ) from error


def checkout_folder() -> Path | None:
    """Return the checkout that this code runs from; None where exphil was installed from a wheel."""
    package = Path(__file__).resolve().parent
    # Only a wheel has presets inside the package (setup.py).
    return None if (package / "presets").is_dir() else package.parent
