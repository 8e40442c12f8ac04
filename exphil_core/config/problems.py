"""Error messages for a preset's values: turns pydantic's ValidationError into sentences with suggestions."""

import json
from typing import get_args

from pydantic import BaseModel, ValidationError

from exphil_core.config.backbones import AnyBackbone, BackboneConfig
from exphil_core.config.preset import Preset
from exphil_core.suggest import suggestion

BACKBONES: dict[str, type[AnyBackbone]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model
    for model in get_args(get_args(BackboneConfig)[0])
}
SHARED_BACKBONE_KEYS = set.intersection(*(set(model.model_fields) for model in BACKBONES.values()))
"""Settings that all kinds of backbone have; they survive a change of kind."""


RENAMED = {
    "data.learn_from_all": "train_on_all_characters",
    "data.most_games": "max_games_per_character",
    "policy.delays": "delay_range",
    "train.accumulation": "grad_accum_steps",
    "train.clip_norm": "max_grad_norm",
    "train.log_steps": "log_every_steps",
    "train.lr_final": "lr_final_ratio",
    "train.mirror": "mirror_prob",
    "train.noise_scale": "noise_std",
    "train.noise_share": "noise_prob",
    "train.start_from": "init_from",
    "evaluation.rows": "batch_size",
}
"""Former key → its current name."""


def problems_of(error: ValidationError) -> list[tuple[tuple[str, ...], str]]:
    """Return (path of the value, `section.key: sentence`) for every mistake that pydantic found."""
    found = []
    for detail in error.errors():
        path = tuple(str(part) for part in detail["loc"] if not isinstance(part, int))
        # Pydantic inserts the backbone's kind into the path of its settings.
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
        # The message of a contradiction between tables already names the keys.
        found.append((path, f"{key}: {sentence}" if key else sentence))
    return found


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _unknown_value(what: str, given: str, expected: tuple[str, ...]) -> str:
    return f"unknown {what} '{given}'; {suggestion(given, expected)}"


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
    return f"unknown key; {suggestion(name, known)}"
