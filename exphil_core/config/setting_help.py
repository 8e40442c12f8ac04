"""Help text and choices of a setting, read from the docstring and the type of its field."""

from types import UnionType
from typing import Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.preset import Preset
from exphil_core.config.problems import BACKBONES


def setting_help(key: str) -> str:
    """Return the help of a preset key such as `train.lr`: the docstring of its field, on one line."""
    if key == "backbone.kind":
        return "Sequence model"
    return " ".join((_field(key).description or "").split())


def setting_choices(key: str) -> tuple[str, ...]:
    """Return the words that a preset key accepts; empty where it accepts other values."""
    annotation = _field(key).annotation
    if get_origin(annotation) in (Union, UnionType):
        annotation = get_args(annotation)[0]
    found = get_args(annotation)
    return found if all(isinstance(word, str) for word in found) else ()


def _field(key: str) -> FieldInfo:
    section, _, name = key.rpartition(".")
    if not section:
        return Preset.model_fields[name]
    # All backbones have the settings that options name.
    model = BACKBONES[BACKBONE_KINDS[0]] if section == "backbone" else Preset.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return model.model_fields[name]
