"""exphil without the workbench, and its public Python API: `import exphil_core as exphil`.

The names of `exphil_core.api.__all__` are loaded when they are first used, so this import loads no torch.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exphil_core.api import *  # noqa: F403


def __getattr__(name: str) -> object:
    # A submodule is not loaded through here, so that importing one never loads the whole API.
    if name.startswith("_") or find_spec(f"{__name__}.{name}") is not None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    api = import_module("exphil_core.api")
    if name not in api.__all__:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}; exphil_core/api.py lists the public names"
        )
    return getattr(api, name)


def __dir__() -> list[str]:
    return [*globals(), *import_module("exphil_core.api").__all__]
