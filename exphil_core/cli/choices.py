"""Options that take a list of known names, `a,b` or `all`, as `exphil bench` has them."""

from collections.abc import Sequence
from difflib import get_close_matches

from exphil_core.errors import UsageError


def chosen_names(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names in `text`, in the order of `known`. UsageError for one that is unknown, or for none."""
    named = {name.strip() for name in text.split(",") if name.strip()}
    if named == {"all"}:
        return tuple(known)
    for name in sorted(named - set(known)):
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected {', '.join(known)} or all"
        raise UsageError(f"{option} {text}: unknown name '{name}'; {hint}")
    if not named:
        raise UsageError(f"{option} names nothing; expected {', '.join(known)} or all")
    return tuple(name for name in known if name in named)
