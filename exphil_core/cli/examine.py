"""Machine checks behind `exphil doctor`: Python, torch, GPU, parser, presets, replays, cache, terminal.

Read-only; no GPU needed. Torch is queried in a subprocess, because a broken driver can kill the process.
"""

import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil

from exphil_core.cli.format import counted, size
from exphil_core.config.loader import list_presets, load_preset
from exphil_core.cpu import core_count
from exphil_core.dataset.discovery import cache_root
from exphil_core.errors import ExphilError, UsageError
from exphil_core.paths import checkout_folder
from exphil_core.replays.folders import count_replays, usual_folders
from exphil_core.runs.provenance import version_line

PYTHONS = ((3, 11), (3, 13))

_TORCH_TIMEOUT_S = 120

_ASK_TORCH = """
import json, torch
devices = [
    {"name": torch.cuda.get_device_name(i), "memory": torch.cuda.get_device_properties(i).total_memory}
    for i in range(torch.cuda.device_count())
]
bf16_cuda = bool(devices) and torch.cuda.is_bf16_supported()
capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")()
print(json.dumps({
    "version": torch.__version__,
    "cuda": torch.version.cuda,
    "devices": devices,
    "threads": torch.get_num_threads(),
    "cpu_capability": capability,
    "bf16_cuda": bf16_cuda,
    "bf16_cpu": torch.ops.mkldnn._is_mkldnn_bf16_supported(),
}))
"""

_EXTRAS = (
    ("py7zr", "archives", ".7z archives of replays"),
    ("mamba_ssm", "cuda", "fast state space kernels, on CUDA only"),
    ("onnxruntime", "onnx", "playing through ONNX Runtime and exporting to it"),
    ("tensorboard", "tensorboard", "curves in TensorBoard"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of one machine check."""

    name: str
    state: Literal["good", "optional", "wrong"]
    text: str
    advice: str = ""
    """How to fix it; empty where nothing has to be done."""
    values: Mapping[str, object] = field(default_factory=dict)
    """The finding as JSON values, for scripts."""


def run_checks() -> list[Finding]:
    """Run all checks, in the order in which problems should be fixed."""
    return [
        _python(),
        *_torch(),
        _processor(),
        _system(),
        _parser(),
        _compiler(),
        *(_extra(module, extra, what) for module, extra, what in _EXTRAS),
        _presets(),
        _replays(),
        _cache(),
        _terminal(),
    ]


def _compiler() -> Finding:
    name = (shlex.split(os.environ.get("CXX", "")) or ["c++"])[0]
    found = shutil.which(name)
    return Finding(
        name="compiler",
        state="good" if found else "optional",
        text=f"{found}: the scan of mamba and jamba is compiled where it first runs"
        if found
        else f"no {name!r} on PATH; it is for the compiled scan of mamba and jamba, which train slower without it",
        advice="" if found else "install one (on Debian and Ubuntu: apt install g++), or name one in CXX",
        values={"path": found},
    )


def _python() -> Finding:
    low, high = PYTHONS
    good = low <= sys.version_info[:2] <= high
    wanted = f"Python {low[0]}.{low[1]} to {high[0]}.{high[1]}"
    return Finding(
        name="python",
        state="good" if good else "wrong",
        text=f"Python {platform.python_version()}, {version_line()} on {platform.platform()}",
        advice="" if good else f"exphil is tested on {wanted}: {_install_again(' PYTHON=python3.11')}",
        values={"version": platform.python_version(), "exphil": metadata.version("exphil")},
    )


def _torch() -> list[Finding]:
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH],
            capture_output=True,
            text=True,
            timeout=_TORCH_TIMEOUT_S,
            check=True,
        )
        found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return [_broken_torch(f"torch did not answer within {_TORCH_TIMEOUT_S} s")]
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines()
        return [_broken_torch(f"torch does not import: {lines[-1] if lines else f'exit {error.returncode}'}")]
    except (OSError, ValueError, IndexError) as error:
        return [_broken_torch(f"torch could not be checked: {error}")]
    torch = Finding(
        name="torch",
        state="good",
        text=f"torch {found['version']}, {counted(found['threads'], 'thread')}",
        values=found,
    )
    return [torch, _devices(found), _bf16(found)]


def _broken_torch(text: str) -> Finding:
    return Finding(name="torch", state="wrong", text=text, advice=_install_again())


def _install_again(options: str = "") -> str:
    if checkout_folder() is None:
        return "install exphil again, in a new environment"
    return f"install again with 'make clean setup{options}'"


def _devices(torch: Mapping[str, Any]) -> Finding:
    devices = torch["devices"]
    if devices:
        listed = ", ".join(f"{device['name']} ({size(device['memory'])})" for device in devices)
        return Finding(
            name="gpu", state="good", text=f"{listed}, CUDA {torch['cuda']}", values={"devices": devices}
        )
    if torch["cuda"]:
        advice = "torch is built for CUDA but finds no device: check the driver with nvidia-smi"
    else:
        advice = "this torch is built without CUDA; with an NVIDIA card, install a CUDA build of torch"
    return Finding(
        name="gpu",
        state="optional",
        text="none: training runs on the CPU, which suits the small presets",
        advice=advice,
        values={"devices": []},
    )


def _bf16(torch: Mapping[str, Any]) -> Finding:
    cuda, cpu = bool(torch["bf16_cuda"]), bool(torch["bf16_cpu"])
    where = [name for name, there in (("CUDA", cuda), ("the CPU", cpu)) if there]
    text = f"supported on {' and '.join(where)}" if where else "not supported: training uses float32"
    return Finding(
        name="bf16",
        state="good" if where else "optional",
        text=text,
        values={"cuda": cuda, "cpu": cpu, "cpu_capability": torch["cpu_capability"]},
    )


def _processor() -> Finding:
    usable = core_count()
    memory = psutil.virtual_memory()
    return Finding(
        name="cpu",
        state="good",
        text=f"{usable} usable cores, {size(memory.total)} of memory, {size(memory.available)} free",
        values={"cores": usable, "memory": memory.total, "memory_free": memory.available},
    )


def _system() -> Finding:
    """Check for the Linux features that other systems lack, and name the cost of each missing one."""
    lacking = {
        "cores": (
            hasattr(os, "sched_setaffinity"),
            "processes cannot be pinned to a core, so a pilot and 'exphil bench latency' are disturbed by other work",
        ),
        "priorities": (
            hasattr(os, "sched_setscheduler"),
            "a player gets no real-time priority, so more frames are late on a busy machine",
        ),
        "thread_times": (
            Path("/proc/self/task").is_dir(),
            "helper threads of a player cannot be found, so they run on any core",
        ),
        "memory_limit": (
            sys.platform != "darwin",
            "a damaged replay that uses up all memory is not stopped",
        ),
        "shared_memory": (
            Path("/dev/shm").is_dir(),
            "replays are passed between processes through files, not memory, which is slower",
        ),
        "openmp": (sys.platform != "darwin", "the compiled scan of mamba and jamba uses one core"),
    }
    costs = [cost for there, cost in lacking.values() if not there]
    return Finding(
        name="system",
        state="optional" if costs else "good",
        text=f"{platform.system()}, " + ("; ".join(costs) if costs else "with all that is used"),
        advice="everything else works as on Linux; measure real-time play on Linux" if costs else "",
        values={name: there for name, (there, _) in lacking.items()},
    )


def _parser() -> Finding:
    try:
        version = metadata.version("peppi-py-vladfi")
    except metadata.PackageNotFoundError:
        return Finding(
            name="parser",
            state="wrong",
            text="peppi-py-vladfi is not installed: replays cannot be read",
            advice=_install_again(),
        )
    try:
        other = metadata.version("peppi-py")
    except metadata.PackageNotFoundError:
        return Finding(
            name="parser", state="good", text=f"peppi-py-vladfi {version}", values={"version": version}
        )
    return Finding(
        name="parser",
        state="wrong",
        text=f"peppi-py {other} is installed beside peppi-py-vladfi {version}; both are the module peppi_py",
        advice="pip uninstall peppi-py, then pip install --force-reinstall peppi-py-vladfi",
        values={"version": version},
    )


def _extra(module: str, extra: str, what: str) -> Finding:
    there = importlib.util.find_spec(module) is not None
    pip = "pip install" if checkout_folder() is None else ".venv/bin/pip install -c constraints.txt -e"
    package = "exphil" if checkout_folder() is None else "."
    return Finding(
        name=module,
        state="good" if there else "optional",
        text="installed" if there else f"not installed; it is for {what}",
        advice="" if there else f"if you want it: {pip} '{package}[{extra}]'",
        values={"installed": there},
    )


def _presets() -> Finding:
    try:
        names = list_presets()
        for name in names:
            load_preset(name)
    except ExphilError as error:
        return Finding(
            name="presets", state="wrong", text=str(error), advice="fix the file, or set EXPHIL_PRESETS"
        )
    return Finding(
        name="presets",
        state="good",
        text=f"{len(names)}, all of which load; 'exphil presets list' says what each is for",
        values={"presets": list(names)},
    )


def _replays() -> Finding:
    found = {str(path): count_replays(path) for path in usual_folders()}
    if not found:
        return Finding(
            name="replays",
            state="optional",
            text="no Slippi folder in the usual places",
            advice="name yours with --replays, or write demo replays with 'exphil demo --out demo'",
            values={"folders": {}},
        )
    listed = ", ".join(
        f"{path} ({count.replays:,}{'' if count.whole else '+'} files)" for path, count in found.items()
    )
    folders = {path: count.replays for path, count in found.items()}
    return Finding(name="replays", state="good", text=listed, values={"folders": folders})


def _cache() -> Finding:
    try:
        path = cache_root()
    except UsageError as error:
        return Finding(
            name="cache", state="wrong", text=str(error), advice="set EXPHIL_CACHE", values={"path": None}
        )
    used = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else 0
    there = next(folder for folder in (path, *path.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK)
    tight = free < 1 << 30
    advice = ""
    if not writable:
        advice = "it cannot be written to: set EXPHIL_CACHE to a folder that can"
    elif tight:
        advice = "less than 1 GiB is free: free some, or set EXPHIL_CACHE to a folder on another disk"
    return Finding(
        name="cache",
        state="good" if not advice else "optional" if writable else "wrong",
        text=f"{path}: {size(used)} used, {size(free)} free on its disk",
        advice=advice,
        values={"path": str(path), "used": used, "free": free},
    )


def _terminal() -> Finding:
    interactive = sys.stdout.isatty()
    columns, rows = shutil.get_terminal_size()
    encoding = (sys.stdout.encoding or "").lower()
    braille = encoding.replace("-", "") == "utf8"
    colour = _colours()
    values = {
        "interactive": interactive,
        "columns": columns,
        "rows": rows,
        "braille": braille,
        "colours": colour,
    }
    if not interactive:
        return Finding(
            name="terminal", state="optional", text="stdout is not a terminal: plain lines", values=values
        )
    wishes = []
    if not braille:
        wishes.append("set a UTF-8 locale (LANG=C.UTF-8), or charts have no braille dots")
    if columns < 80 or rows < 24:
        wishes.append("make the window at least 80 × 24")
    return Finding(
        name="terminal",
        state="optional" if wishes else "good",
        text=f"{columns} × {rows}, {colour} colours, {'braille' if braille else f'no braille ({encoding})'}",
        advice="; ".join(wishes),
        values=values,
    )


def _colours() -> str:
    if os.environ.get("NO_COLOR"):
        return "no"
    if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return "16 million"
    term = os.environ.get("TERM", "")
    if "256color" in term:
        return "256"
    return "no" if term in ("", "dumb") else "16"
