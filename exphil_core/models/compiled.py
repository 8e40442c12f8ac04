"""exphil's C++ for the CPU: built where it first runs, kept in the user's cache, loaded as operators of torch.

In: `scan.cpp` beside this file. Out: `torch.ops.exphil`, or the sentence that says why it can't be had.

What a reader gets wrong: a compiler is needed once and not again. The library's name is made of everything that
makes it fit, the source, torch, Python, the kind of CPU, and not of the compiler: a library that is there loads
where the compiler has gone, and gives the same numbers after the compiler's next update.
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
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import cast

import torch

from exphil_core.dataset.catalog import cache_root
from exphil_core.errors import UsageError
from exphil_core.lock import hold

SOURCE = Path(__file__).with_name("scan.cpp")
FLAGS = (
    "-O3",
    # Apple's compiler knows a machine's own instructions by this name on ARM.
    "-mcpu=native" if platform.machine() == "arm64" else "-march=native",
    *([] if sys.platform == "darwin" else ["-fopenmp"]),
)


class _MissingError(Exception):
    """A sentence: what is missing for it."""


def operators() -> ModuleType:
    """`scan_forward` and `scan_backward`. UsageError where they can't be had."""
    reason = why_not()
    if reason:
        raise UsageError(reason)
    return cast(ModuleType, torch.ops.exphil)


@cache
def why_not() -> str | None:
    """Why the compiled operators can't be had; None where they are loaded now. The first call may build them."""
    try:
        library = cache_root() / "compiled" / f"scan-{_fingerprint()}.so"
        built = not library.is_file() and _build_once(library)
        if not built:
            torch.ops.load_library(str(library))
    except _MissingError as missing:
        return str(missing)
    except (OSError, UsageError) as error:
        return f"the compiled scan cannot be kept or loaded ({error}): mend that, or delete the file if it is damaged"
    return None


def _fingerprint() -> str:
    parts = [torch.__version__, sys.version, platform.machine(), _cpu(), *FLAGS]
    return hashlib.blake2b(SOURCE.read_bytes() + "\0".join(parts).encode(), digest_size=12).hexdigest()


def _cpu() -> str:
    """What the CPU can do: a library for another kind would end this process without a word."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _build_once(library: Path) -> bool:
    """Waits for another process that builds the library, or builds and loads it: whether it was this one."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with hold(library.with_suffix(".lock"), "the build of the compiled scan", waiting=_tell):
        missing = not library.is_file()
        if missing:
            _build(library)
        return missing


def _tell(sentence: str) -> None:
    print(f"exphil: {sentence}", file=sys.stderr, flush=True)


def _build(library: Path) -> None:
    # A folder of its own, because torch's lock on one stays behind when its process is killed.
    with _tools_on_path(), tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as folder:
        print(
            "exphil: building the compiled scan for this machine; it takes about half a minute, once",
            file=sys.stderr,
            flush=True,
        )
        try:
            from torch.utils.cpp_extension import load

            built = load(
                name="exphil_scan",
                sources=[str(SOURCE)],
                # Not linked with OpenMP: torch has brought its own, and a second one would have its own threads.
                extra_cflags=list(FLAGS),
                build_directory=folder,
                is_python_module=False,
            )
        except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise _MissingError(f"the compiled scan could not be built: {_gist(str(error))}") from error
        Path(cast(str, built)).replace(library)


def _gist(output: str) -> str:
    """The line of a failed build that says most."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    says = next((line for line in lines if "error:" in line), lines[0] if lines else "it says nothing")
    return says.rstrip(".")


@contextmanager
def _tools_on_path() -> Iterator[None]:
    """PATH with ninja on it, which is beside this Python where a virtual environment is not activated."""
    before = os.environ.get("PATH", "")
    path = os.pathsep.join([sysconfig.get_path("scripts"), before])
    compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    if shutil.which(compiler[0], path=path) is None:
        raise _MissingError(
            f"the compiled scan needs a C++ compiler, and there is no {compiler[0]!r} on PATH: install one "
            "(on Debian and Ubuntu: apt install g++), or name one in CXX"
        )
    if shutil.which("ninja", path=path) is None:
        raise _MissingError("the compiled scan needs ninja to be built: pip install ninja")
    os.environ["PATH"] = path
    try:
        yield
    finally:
        os.environ["PATH"] = before
