"""The build step that copies presets/ into the wheel. Everything else is declared in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPresets(build_py):
    """Installs presets/ as exphil_core/presets, where `exphil_core.config.sources` reads it outside a checkout.

    package-data cannot do this: presets/ is not inside a package. An editable install copies nothing and reads the
    checkout's folder.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        # setuptools keeps the build folder: a preset that was deleted since the last build would be installed.
        shutil.rmtree(self._presets_folder(), ignore_errors=True)
        for target, source in self._presets().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_source_files(self) -> list[str]:
        """Puts presets/ into the source distribution."""
        return [*super().get_source_files(), *self._presets().values()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self._presets()]

    def get_output_mapping(self) -> dict[str, str]:
        return {**super().get_output_mapping(), **self._presets()}

    def _presets(self) -> dict[str, str]:
        """File in the build folder → its source."""
        source = Path("presets")
        files = sorted(source.rglob("*.toml"))
        return {str(self._presets_folder() / path.relative_to(source)): str(path) for path in files}

    def _presets_folder(self) -> Path:
        return Path(self.build_lib, "exphil_core", "presets")


setup(cmdclass={"build_py": BuildWithPresets})
