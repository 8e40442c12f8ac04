"""Parse options that list known names: backbones (`a,b` or `all`) and characters."""

from collections.abc import Sequence

from exphil_core.errors import UsageError
from exphil_core.melee import characters
from exphil_core.suggest import suggestion


def chosen_names(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the names in `text`, in the order of `known`; UsageError for an unknown name or an empty list."""
    named = {name.strip() for name in text.split(",") if name.strip()}
    if named == {"all"}:
        return tuple(known)
    for name in sorted(named - set(known)):
        hint = suggestion(name, known, otherwise=f"expected {', '.join(known)} or all")
        raise UsageError(f"{option} {text}: unknown name '{name}'; {hint}")
    if not named:
        raise UsageError(f"{option} names nothing; expected {', '.join(known)} or all")
    return tuple(name for name in known if name in named)


def chosen_characters(option: str, text: str) -> tuple[str, ...]:
    """Return the character names that `text` lists by name or alias, without duplicates, in its order.

    Raises:
        UsageError: a name is unknown or not selectable, or the list is empty, which would mean all characters.
    """
    found: list[str] = []
    for typed in filter(None, (part.strip() for part in text.split(","))):
        try:
            character = characters.by_name(typed)
        except UsageError as error:
            raise UsageError(f"{option} {text}: {error}") from error
        if character.external_id >= characters.PLAYABLE_COUNT:
            raise UsageError(
                f"{option} {text}: {character.title} cannot be selected in a game; expected a playable character"
            )
        found.append(character.name)
    if not found:
        raise UsageError(
            f"{option} '{text}' names no character; expected names such as mewtwo,link, or leave {option} out"
        )
    return tuple(dict.fromkeys(found))
