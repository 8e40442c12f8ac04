"""`exphil presets list|show`: list the training presets and show their values."""

import json
import sys
from typing import Annotated

import typer

from exphil_core.config.loader import SIZE_BEFORE_PICKED, list_presets, load_preset, preset_to_toml
from exphil_core.config.preset import Preset
from exphil_core.config.sizes import AUTO, SIZES
from exphil_core.errors import ExphilError

presets_app = typer.Typer(help="List and show presets.", no_args_is_help=True, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@presets_app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the presets with their descriptions."""
    presets: list[Preset] = []
    broken: list[ExphilError] = []
    for name in list_presets():
        try:
            presets.append(load_preset(name))
        except ExphilError as error:
            broken.append(error)
    if as_json:
        print(
            json.dumps({"presets": [_line(preset) for preset in presets], "broken": [str(e) for e in broken]})
        )
    else:
        width = max((len(preset.name) for preset in presets), default=0)
        for preset in presets:
            print(f"{preset.name:<{width}}  {preset.description}")
    for problem in broken:
        print(problem, file=sys.stderr)
    if broken:
        raise typer.Exit(broken[0].exit_code)


@presets_app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="A preset's name, or the path of a .toml file.")],
    as_json: AsJson = False,
) -> None:
    """Show a preset with every value filled in, as TOML."""
    preset = load_preset(name)
    if preset.size == AUTO:
        print(
            f"size is auto: a run picks {', '.join(SIZES)} for its games, this machine and its time ('exphil train "
            f"--dry-run' says which); shown are the values of {SIZE_BEFORE_PICKED}",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps(preset.model_dump(mode="json")))
    else:
        print(preset_to_toml(preset), end="")


def _line(preset: Preset) -> dict[str, object]:
    return {
        "name": preset.name,
        "description": preset.description,
        "backbone": preset.backbone.kind,
        "window_size": preset.backbone.window_size,
        "characters": list(preset.data.characters),
    }
