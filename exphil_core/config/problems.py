"""What is wrong with a preset's values, as sentences with the nearest right answer.

In: pydantic's ValidationError. Out: (path, sentence) for every mistake; the loader adds where it was made.
What a reader gets wrong: pydantic puts the backbone's kind into the path of what is below it.
"""

import json
from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel, ValidationError

from exphil_core.config.backbones import AnyBackbone, BackboneConfig
from exphil_core.config.preset import Preset

BACKBONES: dict[str, type[AnyBackbone]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model
    for model in get_args(get_args(BackboneConfig)[0])
}
SHARED_BACKBONE_KEYS = set.intersection(*(set(model.model_fields) for model in BACKBONES.values()))
"""What every backbone has, and so what survives a change of kind."""


RENAMED = {"data.learn_from_all": "train_on_all_characters"}
"""Former key → the name that it has now."""


def problems_of(error: ValidationError) -> list[tuple[tuple[str, ...], str]]:
    """(path of the value, `section.key: sentence`) for every mistake that pydantic found."""
    found = []
    for detail in error.errors():
        path = tuple(str(part) for part in detail["loc"] if not isinstance(part, int))
        if path[:1] == ("backbone",) and len(path) > 1 and path[1] in BACKBONES:
            kind = path[1]
            path = ("backbone", *path[2:])
        else:
            kind = ""
        context = detail.get("ctx", {})
        given = detail["input"]
        match detail["type"]:
            case "extra_forbidden":
                sentence = _unknown_key(path, kind)
            case "union_tag_invalid":
                path = ("backbone", "kind")
                sentence = _unknown_value("backbone", str(context["tag"]), tuple(BACKBONES))
            case "union_tag_not_found":
                path = ("backbone", "kind")
                sentence = f"missing; expected one of {', '.join(BACKBONES)}"
            case "literal_error":
                expected = tuple(
                    part.strip(" '") for part in str(context["expected"]).replace(" or ", ", ").split(",")
                )
                sentence = _unknown_value("value", str(given), expected)
            case "missing":
                sentence = "missing"
            case "value_error":
                sentence = str(context["error"])
            case "model_type" | "model_attributes_type" | "dict_type":
                sentence = f"expected a table, found {_shown(given)}"
            case _:
                wanted = detail["msg"].removeprefix("Input should be ")
                sentence = f"expected {wanted}, found {_shown(given)}"
        key = ".".join(path)
        # A contradiction between tables names the keys itself.
        found.append((path, f"{key}: {sentence}" if key else sentence))
    return found


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _unknown_value(what: str, given: str, expected: tuple[str, ...]) -> str:
    near = get_close_matches(given, expected, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(expected)}"
    return f"unknown {what} '{given}'; {hint}"


def _unknown_key(path: tuple[str, ...], kind: str) -> str:
    name = path[-1]
    if (now := RENAMED.get(".".join(path))) is not None:
        return f"this setting is called {now} now"
    if len(path) == 1:
        known = [*Preset.model_fields, "extends"]
    elif kind:
        owners = [other for other, model in BACKBONES.items() if name in model.model_fields]
        if owners:
            return f"unknown key for backbone '{kind}'; it is a setting of {', '.join(owners)}"
        known = list(BACKBONES[kind].model_fields)
    else:
        section = Preset.model_fields[path[0]].annotation
        known = (
            list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []
        )
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(known)}"
    return f"unknown key; {hint}"
