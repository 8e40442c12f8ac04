"""Which process is meant: the same through a step of the clock, another for another process."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from exphil_core.runs import process
from exphil_core.runs.process import own_identity, process_identity


def test_an_identity_is_of_one_process_and_gone_with_it() -> None:
    assert process_identity(os.getpid()) == own_identity() != ""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = process_identity(child.pid)
    assert identity not in (None, own_identity())
    assert process_identity(child.pid) == identity
    child.kill()
    # A zombie, until its parent has asked how it ended, holds nothing and answers nothing.
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert process_identity(child.pid) is None
    child.wait()
    assert process_identity(child.pid) is None


def test_a_process_whose_name_looks_like_the_fields_behind_it_is_read_right(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 1"
    odd.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(odd), "60"])
    try:
        identity = process_identity(child.pid)
        assert identity is not None
        started = int(identity.rpartition("/")[2]) / os.sysconf("SC_CLK_TCK")
        assert started == pytest.approx(psutil.Process(child.pid).create_time() - psutil.boot_time(), abs=1)
    finally:
        child.kill()
        child.wait()


def test_without_proc_the_start_that_the_kernel_recorded_tells_processes_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: not str(self).startswith("/proc") and exists(self))
    found = process_identity(os.getpid())
    assert found is not None
    assert found.startswith("started ")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert process_identity(os.getpid()) == found
    assert process_identity(2**22 + 1) is None
    monkeypatch.setenv("PATH", "")
    assert process_identity(os.getpid()) is None
    process._identity_of_self.cache_clear()
    assert own_identity() == ""
    process._identity_of_self.cache_clear()
