"""Options that take a list of known names: backbones (`a,b` or `all`) and characters."""

from collections.abc import Sequence
from difflib import get_close_matches

from exphil_core.errors import UsageError
from exphil_core.melee import characters


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


def chosen_characters(option: str, text: str) -> tuple[str, ...]:
    """The characters that `text` lists by name or alias, each once, in its order.

    UsageError for one that is unknown or cannot be selected, and for none: that would silently mean everybody.
    """
    found: list[str] = []
    for typed in filter(None, (part.strip() for part in text.split(","))):
        try:
            character = characters.by_name(typed)
        except UsageError as error:
            raise UsageError(f"{option} {text}: {error}") from error
        if character.external_id >= characters.PLAYABLE_COUNT:
            raise UsageError(
                f"{option} {text}: nobody can select {character.title}; expected a playable character"
            )
        found.append(character.name)
    if not found:
        raise UsageError(
            f"{option} '{text}' names no character; expected names such as mewtwo,link, or leave {option} out"
        )
    return tuple(dict.fromkeys(found))
