"""The nearest known name to a misspelled one, for error messages."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most similar to `name`; None if none is similar."""
    return next(iter(get_close_matches(name, known, n=1)), None)


def suggestion(name: str, known: Iterable[str], *, otherwise: str | None = None) -> str:
    """Return the end of an error sentence about an unknown name: the nearest known name.

    Args:
        otherwise: What to say if no known name is similar; without it, all of them in the order given.
    """
    known = tuple(known)
    nearest = nearest_name(name, known)
    if nearest is not None:
        return f"did you mean '{nearest}'?"
    return f"expected one of {', '.join(known)}" if otherwise is None else otherwise
