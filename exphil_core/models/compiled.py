"""Build, cache and load the C++ extension for CPUs (`scan.cpp`) as torch operators, `torch.ops.exphil`.

The cache key covers source, flags, torch, Python and CPU features, but not the compiler: a cached library loads
without a compiler, and a compiler update does not change results.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import cast

import torch

from exphil_core.dataset.discovery import cache_root
from exphil_core.errors import UsageError
from exphil_core.lock import hold

SOURCE = Path(__file__).with_name("scan.cpp")
FLAGS = (
    "-O3",
    # Apple's compiler spells this option -mcpu=native on ARM.
    "-mcpu=native" if platform.machine() == "arm64" else "-march=native",
    *([] if sys.platform == "darwin" else ["-fopenmp"]),
)


class _MissingError(Exception):
    """Something that the extension needs is missing; the message says what."""


def operators() -> ModuleType:
    """Load the operators `scan_forward` and `scan_backward`, building them if needed.

    Raises:
        UsageError: They cannot be built or loaded.
    """
    reason = why_not()
    if reason:
        raise UsageError(reason)
    return cast(ModuleType, torch.ops.exphil)


@cache
def why_not() -> str | None:
    """Explain why the compiled operators are unavailable; None if they are loaded now.

    The first call may build them, which takes about half a minute.
    """
    try:
        library = cache_root() / "compiled" / f"scan-{_fingerprint()}.so"
        if not library.is_file():
            _build_once(library)
        torch.ops.load_library(str(library))
    except _MissingError as missing:
        return str(missing)
    except (OSError, UsageError) as error:
        return f"the compiled scan cannot be kept or loaded ({error}): fix that, or delete the file if it is damaged"
    return None


def _fingerprint() -> str:
    parts = [torch.__version__, sys.version, platform.machine(), _cpu(), *FLAGS]
    return hashlib.blake2b(SOURCE.read_bytes() + "\0".join(parts).encode(), digest_size=12).hexdigest()


def _cpu() -> str:
    """Feature flags of the CPU: a library built for other features would crash the process."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _build_once(library: Path) -> None:
    """Build the library unless another process builds it first."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with hold(library.with_suffix(".lock"), "the build of the compiled scan", waiting=_tell):
        if not library.is_file():
            _build(library)


def _tell(sentence: str) -> None:
    print(f"exphil: {sentence}", file=sys.stderr, flush=True)


def _build(library: Path) -> None:
    path = _path_with_tools()
    # A temporary folder, because torch's lock file in a build folder outlives a killed process.
    with tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as folder:
        _tell("building the compiled scan for this machine; it takes about half a minute, once")
        # In a subprocess: torch's build tools change PATH and fail if setuptools is partly imported.
        built = subprocess.run(
            [sys.executable, "-P", "-c", _BUILD, str(SOURCE), folder, *FLAGS],
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if built.returncode:
            raise _MissingError(f"the compiled scan could not be built: {_gist(built.stdout)}")
        (Path(folder) / f"{_NAME}.so").replace(library)


_NAME = "exphil_scan"

# Not linked with OpenMP: torch has loaded its own, and a second copy would start its own threads.
_BUILD = f"""
import sys
from torch.utils.cpp_extension import load
source, folder, *flags = sys.argv[1:]
load("{_NAME}", [source], extra_cflags=flags, build_directory=folder, is_python_module=False)
"""


def _gist(output: str) -> str:
    """Return the first error line of a failed build's output, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    says = next((line for line in lines if "error:" in line), lines[-1] if lines else "no output")
    return says.rstrip(".")


def _path_with_tools() -> str:
    """Return PATH with this Python's scripts: ninja lies there when the virtual environment is not activated.

    Raises:
        _MissingError: The compiler or ninja is missing.
    """
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    if shutil.which(compiler[0], path=path) is None:
        raise _MissingError(
            f"the compiled scan needs a C++ compiler, and there is no {compiler[0]!r} on PATH: install one "
            "(on Debian and Ubuntu: apt install g++), or name one in CXX"
        )
    if shutil.which("ninja", path=path) is None:
        raise _MissingError("the compiled scan needs ninja to be built: pip install ninja")
    return path
