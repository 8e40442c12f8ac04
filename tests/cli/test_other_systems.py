"""Commands work where Linux's own names and files are missing, as on macOS, and doctor says what that costs."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import exphil_core
import exphil_tui
from exphil_core.cli.main import run
from exphil_core.studies.data import prepare
from exphil_core.studies.study import load_study

OF_LINUX = {
    "os": (
        *(
            "sched_getaffinity",
            "sched_setaffinity",
            "sched_getscheduler",
            "sched_setscheduler",
            "sched_getparam",
        ),
        *(
            "sched_setparam",
            "sched_param",
            "sched_rr_get_interval",
            "SCHED_OTHER",
            "SCHED_BATCH",
            "SCHED_IDLE",
        ),
        *("SCHED_RR", "SCHED_FIFO", "memfd_create", "MFD_CLOEXEC", "pidfd_open", "eventfd", "posix_fadvise"),
        *(
            "posix_fallocate",
            "copy_file_range",
            "splice",
            "pipe2",
            "O_TMPFILE",
            "O_PATH",
            "O_DIRECT",
            "fdatasync",
        ),
        *(
            "getrandom",
            "getxattr",
            "setxattr",
            "setresuid",
            "getresuid",
            "preadv2",
            "pwritev2",
            "RTLD_DEEPBIND",
        ),
    ),
    "signal": ("SIGRTMIN", "SIGRTMAX", "SIGPOLL", "SIGPWR", "SIGSTKFLT", "sigtimedwait", "sigwaitinfo"),
    "select": ("epoll", "EPOLLIN", "EPOLLHUP"),
    "resource": (
        "prlimit",
        "RLIMIT_RTPRIO",
        "RLIMIT_NICE",
        "RLIMIT_RTTIME",
        "RLIMIT_MSGQUEUE",
        "RLIMIT_SIGPENDING",
    ),
    "socket": ("AF_NETLINK", "AF_PACKET", "AF_VSOCK", "SOCK_CLOEXEC", "SOCK_NONBLOCK"),
    "fcntl": ("F_SETPIPE_SZ", "F_GETPIPE_SZ", "F_ADD_SEALS", "F_OFD_SETLK"),
    "mmap": ("MAP_POPULATE", "MADV_HUGEPAGE", "MAP_STACK"),
    "time": ("CLOCK_BOOTTIME", "CLOCK_TAI", "pthread_getcpuclockid"),
}

GUARDED = {
    "cpu.py": {"sched_getaffinity"},
    "inference/cpu_affinity.py": {
        "sched_getaffinity",
        "sched_setaffinity",
        "sched_getscheduler",
        "sched_setscheduler",
    }
    | {"sched_getparam", "sched_param", "SCHED_RR"},
    "pilot/placement.py": {"sched_getaffinity", "sched_setaffinity"},
}
"""Where such a name is used, behind a `hasattr`."""


def test_names_of_linux_are_used_in_few_places_and_guarded_there() -> None:
    found: dict[str, set[str]] = {}
    for package in (exphil_core, exphil_tui):
        root = Path(str(package.__file__)).parent
        for path in root.rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for node in ast.walk(ast.parse(text)):
                if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                    continue
                if node.attr in OF_LINUX.get(node.value.id, ()):
                    found.setdefault(str(path.relative_to(root)), set()).add(node.attr)
            assert "hasattr(" in text or str(path.relative_to(root)) not in found
    assert found == GUARDED


ELSEWHERE = """
import builtins, importlib, json, os, pathlib, sys
for name, attributes in json.loads(os.environ["OF_LINUX"]).items():
    module = importlib.import_module(name)
    for attribute in attributes:
        if hasattr(module, attribute):
            delattr(module, attribute)

HIDDEN = ("/proc", "/sys", "/dev/shm")

def hide(method):
    def hidden(self, *arguments, **options):
        if str(self).startswith(HIDDEN):
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return method(self, *arguments, **options)
    return hidden

# Of paths that exphil opens: psutil reads /proc in its own way, and has another on other systems.
for name in ("open", "stat", "iterdir"):
    setattr(pathlib.Path, name, hide(getattr(pathlib.Path, name)))
"""


@pytest.fixture
def typed_elsewhere(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Types commands, one after the other, on a system without what Linux alone has; so do all processes below."""
    (tmp_path / "sitecustomize.py").write_text(ELSEWHERE)

    def typed(*commands: str) -> "subprocess.CompletedProcess[str]":
        code = (
            "import sys\nfrom exphil_core.cli.main import main\n"
            f"for words in {[words.split() for words in commands]!r}:\n"
            "    print('>', *words, flush=True)\n"
            "    code = main(words)\n"
            "    assert code == 0, (words, code)\n"
        )
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(tmp_path),
                # psutil reads network addresses of a kind that only Linux has, on Linux.
                "OF_LINUX": json.dumps({name: OF_LINUX[name] for name in OF_LINUX if name != "socket"}),
                "EXPHIL_CACHE": str(tmp_path / "cache"),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return typed


def test_doctor_says_what_works_less_well(
    typed_elsewhere: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    done = typed_elsewhere("doctor")
    assert done.returncode == 0, done.stderr
    assert "processes cannot be pinned to a core" in done.stdout
    assert "a player gets no real-time priority" in done.stdout


def test_commands_work_without_what_linux_alone_has(
    typed_elsewhere: Callable[..., "subprocess.CompletedProcess[str]"], dojo_replays: Path
) -> None:
    one = sorted(dojo_replays.glob("*.slp"))[0]
    small = (
        "--set backbone.width=32 backbone.layers=1 encoder.width=32 policy.head_width=32 train.batch_size=4 "
        "evaluation.max_frames=2000"
    )
    done = typed_elsewhere(
        f"data build {dojo_replays} --workers 1",
        f"train --dry-run --preset quick --replays {dojo_replays}",
        f"train --headless --preset quick --device cpu --replays {dojo_replays} --max-steps 1 --name mine {small}",
        "runs list",
        "runs show mine",
        "advise",
        "study list",
        f"predict mine {one} --device cpu",
        "bench latency --help",
    )
    assert done.returncode == 0, f"{done.stdout[-500:]}\n{done.stderr[-3000:]}"


def test_work_is_shared_among_all_cores_where_the_system_does_not_say_which_are_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dojo_replays: Path
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    assert run(["data", "build", str(dojo_replays), "--out", str(tmp_path / "out")]) == 0
    study = load_study("context_length", quick=True)
    assert prepare(replace(study, dojo_games=2), say=lambda text: None).games
    assert prepare(replace(study, replays=(str(dojo_replays),)), say=lambda text: None).games
