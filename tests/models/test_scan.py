"""Every implementation of the selective scan is the plain loop, in its outputs and in all of its gradients."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from exphil_core.errors import UsageError
from exphil_core.models import compiled, scan
from exphil_core.models.scan import resolve_scan, scan_step, selective_scan

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NAMES = ("u", "dt", "A", "B", "C", "D", "state")
SHAPES = [(2, 1, 3, 1), (3, 17, 5, 3), (1, 40, 33, 16), (2, 33, 16, 8), (1, 5, 1, 21), (5, 70, 40, 16)]
"""B, T, I, N: single frames, channels and state values, and such as fill no vector and no block."""

Inputs = list[Tensor]


def _inputs(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device = CPU) -> Inputs:
    batch, length, inner, width = shape
    generator = torch.Generator().manual_seed(sum(shape))

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    made = [
        normal(batch, length, inner),
        torch.nn.functional.softplus(normal(batch, length, inner) - 1),
        -normal(inner, width).exp(),
        normal(batch, length, width),
        normal(batch, length, width),
        normal(inner),
        normal(batch, inner, width),
    ]
    return [part.to(device, dtype) for part in made]


def _loop(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    """The definition, one frame after another."""
    out = []
    for t in range(u.shape[1]):
        h = torch.exp(dt[:, t, :, None] * A) * h + dt[:, t, :, None] * B[:, t, None] * u[:, t, :, None]
        out.append((h * C[:, t, None]).sum(-1) + D * u[:, t])
    return torch.stack(out, dim=1), h


def _gradients(
    function: Callable[..., tuple[Tensor, Tensor]], inputs: Inputs, gy: Tensor, glast: Tensor
) -> tuple[Tensor, ...]:
    """Outputs and the gradients of all inputs."""
    inputs = [part.detach().requires_grad_() for part in inputs]
    y, last = function(*inputs)
    return y.detach(), last.detach(), *torch.autograd.grad([y, last], inputs, [gy, glast])


def _assert_is_the_loop(inputs: Inputs, kernel: str, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    gy = torch.randn(inputs[0].shape, generator=generator, dtype=torch.float64).to(inputs[0])
    glast = torch.randn(inputs[6].shape, generator=generator, dtype=torch.float64).to(inputs[0])
    exact = _gradients(
        _loop, [part.cpu().double() for part in inputs], gy.cpu().double(), glast.cpu().double()
    )
    found = _gradients(lambda *given: selective_scan(*given, kernel=kernel), inputs, gy, glast)
    for name, one, other in zip(("y", "last", *NAMES), found, exact, strict=True):
        error = (one.cpu().double() - other).abs().max() / other.abs().max().clamp(min=1e-3)
        assert error < tolerance, (name, error)


@pytest.fixture(params=["torch", "compiled"])
def kernel(request: pytest.FixtureRequest) -> str:
    reason = scan.why_not(request.param, CPU)
    if reason:
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture
def two_frame_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "LONGEST_BLOCK", 2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_and_gradients_are_those_of_the_plain_loop(kernel: str, shape: tuple[int, ...]) -> None:
    _assert_is_the_loop(_inputs(shape, torch.float32), kernel, 5e-6)
    _assert_is_the_loop(_inputs(shape, torch.float64), kernel, 1e-13)


@pytest.mark.usefixtures("two_frame_blocks")
def test_blocks_that_do_not_divide_the_chunk_change_nothing() -> None:
    _assert_is_the_loop(_inputs((2, 7, 5, 3), torch.float64), "torch", 1e-13)


@pytest.mark.usefixtures("two_frame_blocks")
def test_gradients_pass_the_numeric_check(kernel: str) -> None:
    inputs = [part.requires_grad_() for part in _inputs((2, 5, 3, 2), torch.float64)]
    assert torch.autograd.gradcheck(lambda *given: selective_scan(*given, kernel=kernel), inputs)


def test_inputs_may_lie_in_memory_as_they_like(kernel: str) -> None:
    inputs = _inputs((3, 20, 7, 5), torch.float64)
    scattered = [
        part.movedim(-1, 0).contiguous().movedim(0, -1)
        if part.dim() > 1
        else part.repeat(2).view(2, -1).T[:, 0]
        for part in inputs
    ]
    scattered[0] = inputs[0].transpose(1, 2).contiguous().transpose(1, 2)
    scattered[1] = torch.cat([inputs[1], inputs[1]], dim=-1)[..., : inputs[1].shape[-1]]
    assert not any(part.is_contiguous() for part in (*scattered[:5], scattered[6]))
    _assert_is_the_loop(scattered, kernel, 1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_one_input_alone_may_need_a_gradient(kernel: str, name: str) -> None:
    inputs = _inputs((2, 6, 4, 3), torch.float64)
    position = NAMES.index(name)
    inputs[position].requires_grad_()
    expected = torch.autograd.grad(_loop(*inputs)[0].sum(), inputs[position])[0]
    y, last = selective_scan(*inputs, kernel=kernel)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), inputs[position])[0], expected)
    assert last.requires_grad


def test_a_gradient_may_come_by_the_last_state_alone(kernel: str) -> None:
    inputs = [part.requires_grad_() for part in _inputs((2, 6, 4, 3), torch.float64)]
    expected = torch.autograd.grad(_loop(*inputs)[1].square().sum(), inputs, allow_unused=True)
    last = selective_scan(*inputs, kernel=kernel)[1]
    found = torch.autograd.grad(last.square().sum(), inputs, allow_unused=True)
    for name, one, other in zip(NAMES, found, expected, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, msg=name)


def test_no_state_is_a_state_of_zeros(kernel: str) -> None:
    *inputs, state = _inputs((2, 9, 4, 3), torch.float64)
    inputs = [part.requires_grad_() for part in inputs]
    results = []
    for start in (None, torch.zeros_like(state)):
        y, last = selective_scan(*inputs, start, kernel=kernel)
        results.append((y, last, *torch.autograd.grad(y.sum() + last.sum(), inputs)))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_a_chunk_in_two_parts_is_one_chunk(kernel: str) -> None:
    inputs = _inputs((2, 37, 6, 4), torch.float64)

    def in_parts(
        u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        out = []
        for part in (slice(0, 20), slice(20, 21), slice(21, None)):
            y, h = selective_scan(u[:, part], dt[:, part], A, B[:, part], C[:, part], D, h, kernel=kernel)
            out.append(y)
        return torch.cat(out, dim=1), h

    gy, glast = torch.ones_like(inputs[0]), torch.ones_like(inputs[6])
    whole = _gradients(lambda *given: selective_scan(*given, kernel=kernel), inputs, gy, glast)
    for one, other in zip(_gradients(in_parts, inputs, gy, glast), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_steps_are_the_chunk(kernel: str) -> None:
    u, dt, A, B, C, D, state = _inputs((2, 12, 6, 4), torch.float64)
    y, last = selective_scan(u, dt, A, B, C, D, state, kernel=kernel)
    for t in range(u.shape[1]):
        y_BI, state = scan_step(u[:, t], dt[:, t], A, B[:, t], C[:, t], D, state)
        torch.testing.assert_close(y_BI, y[:, t], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 9, 4, 3), (2, 9, 4, 1), (2, 9, 1, 3)], ids=str)
def test_what_is_given_is_not_changed(kernel: str, shape: tuple[int, ...]) -> None:
    inputs = _inputs(shape, torch.float32)
    given = [*inputs, torch.ones_like(inputs[0]), torch.ones_like(inputs[6])]
    before = [part.clone() for part in given]
    _gradients(lambda *given: selective_scan(*given, kernel=kernel), inputs, *given[7:])
    assert all(torch.equal(one, other) for one, other in zip(given, before, strict=True))


def test_autocast_changes_nothing(kernel: str) -> None:
    inputs = _inputs((2, 9, 4, 3), torch.float32)
    gy, glast = torch.ones_like(inputs[0]), torch.ones_like(inputs[6])

    def run(*given: Tensor) -> tuple[Tensor, Tensor]:
        return selective_scan(*given, kernel=kernel)

    plain = _gradients(run, inputs, gy, glast)
    with torch.autocast("cpu", torch.bfloat16):
        cast = _gradients(run, inputs, gy, glast)
    assert all(torch.equal(one, other) for one, other in zip(plain, cast, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_frame_without_a_step_leaves_the_state_as_it_was(kernel: str, dtype: torch.dtype) -> None:
    u, dt, A, B, C, D, state = _inputs((2, 50, 5, 3), dtype)
    _, last = selective_scan(u, torch.zeros_like(dt), A, B, C, D, state, kernel=kernel)
    assert torch.equal(last, state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_step_of_any_length_is_forgetting_and_no_more(kernel: str, dtype: torch.dtype) -> None:
    inputs = _inputs((2, 4, 5, 3), dtype)
    inputs[1] = inputs[1] * torch.tensor([1e-6, 1.0, 60.0, 1e4], dtype=dtype)[:, None]
    inputs[2] = inputs[2] - 1
    _assert_is_the_loop(inputs, kernel, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_a_number_is_not_hidden(kernel: str, name: str) -> None:
    inputs = _inputs((1, 4, 3, 2), torch.float32)
    inputs[NAMES.index(name)].view(-1)[0] = -torch.nan
    y, _ = selective_scan(*inputs, kernel=kernel)
    assert y.isnan().any()


def test_the_same_inputs_give_the_same_bits(kernel: str) -> None:
    inputs = _inputs((5, 70, 40, 16), torch.float32)
    gy, glast = torch.ones_like(inputs[0]), torch.ones_like(inputs[6])
    first, second = (
        _gradients(lambda *given: selective_scan(*given, kernel=kernel), inputs, gy, glast) for _ in range(2)
    )
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("kernel", ["compiled"], indirect=True)
def test_compiled_bits_do_not_depend_on_the_number_of_threads(
    kernel: str, threads: Callable[[int], None]
) -> None:
    inputs = _inputs((5, 70, 200, 16), torch.float32)
    gy, glast = torch.ones_like(inputs[0]), torch.ones_like(inputs[6])
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(_gradients(lambda *given: selective_scan(*given, kernel=kernel), inputs, gy, glast))
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@pytest.mark.parametrize("kernel", ["compiled"], indirect=True)
def test_shapes_that_do_not_fit_are_refused_before_memory_is_read(kernel: str) -> None:
    u, dt, A, B, C, D, state = _inputs((2, 9, 4, 3), torch.float32)
    with pytest.raises(RuntimeError, match=r"dt is \[2, 8, 4\]"):
        selective_scan(u, dt[:, :8], A, B, C, D, state, kernel=kernel)
    with pytest.raises(RuntimeError, match=r"state is .* of Double"):
        selective_scan(u, dt, A, B, C, D, state.double(), kernel=kernel)


# Which one runs.


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nothing remembered of the libraries that this process has."""
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled, "why_not", compiled.why_not.__wrapped__)
    monkeypatch.delenv("CXX", raising=False)
    scan._say_once.cache_clear()
    return tmp_path


def _tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_torch_runs_anywhere() -> None:
    assert resolve_scan("torch", CPU) == resolve_scan("torch", CUDA) == "torch"


def test_auto_takes_the_compiled_one_on_a_cpu_where_it_can_be_had() -> None:
    if compiled.why_not():
        pytest.skip(str(compiled.why_not()))
    assert resolve_scan("auto", CPU) == resolve_scan("compiled", CPU) == "compiled"


def test_without_a_compiler_auto_says_so_once_and_takes_torch(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv("PATH", str(fresh_cache))
    assert resolve_scan("auto", CPU) == resolve_scan("auto", CPU) == "torch"
    assert len(recwarn) == 1
    said = str(recwarn[0].message)
    assert "backbone.kernel 'auto' takes 'torch'" in said
    assert "there is no 'c++' on PATH" in said
    with pytest.raises(
        UsageError, match=r"backbone\.kernel is 'compiled'.*C\+\+ compiler.*'torch' runs anywhere"
    ):
        resolve_scan("compiled", CPU)


def test_a_compiler_named_in_cxx_that_is_not_there_is_named(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -v")
    with pytest.raises(UsageError, match="no 'no-such-compiler' on PATH"):
        resolve_scan("compiled", CPU)


def test_without_ninja_the_sentence_names_it(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tool(fresh_cache / "bin", "c++", "exit 0")
    monkeypatch.setenv("PATH", str(fresh_cache / "bin"))
    monkeypatch.setattr(compiled.sysconfig, "get_path", lambda name: str(fresh_cache))
    with pytest.raises(UsageError, match="pip install ninja"):
        resolve_scan("compiled", CPU)


def test_a_build_that_fails_is_told_by_its_error(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _tool(
        fresh_cache / "bin",
        "c++",
        "case $1 in -*version) echo g++ 12.2.0;; *) echo scan.cpp:1: error: no; exit 1;; esac",
    )
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{fresh_cache / 'bin'}{os.pathsep}{path}")
    with pytest.raises(UsageError, match=r"could not be built: scan\.cpp:1: error: no\."):
        resolve_scan("compiled", CPU)
    assert "building the compiled scan for this machine" in capfd.readouterr().err
    assert not list(fresh_cache.glob("cache/compiled/*.so"))


@pytest.mark.filterwarnings("error")
def test_it_is_built_whatever_this_process_has_imported(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "setuptools", None)
    library = fresh_cache / "cache" / "scan.so"
    compiled._build_once(library)
    # Loaded in a process of its own: this one may have these operators already.
    load = "import sys, torch; torch.ops.load_library(sys.argv[1]); torch.ops.exphil.scan_forward"
    subprocess.run([sys.executable, "-c", load, str(library)], check=True)


def test_a_cache_that_cannot_be_written_is_told(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh_cache / "file").touch()
    monkeypatch.setenv("EXPHIL_CACHE", str(fresh_cache / "file"))
    with pytest.raises(UsageError, match="cannot be kept or loaded"):
        resolve_scan("compiled", CPU)


def test_each_machine_is_offered_what_it_can_run() -> None:
    with pytest.raises(UsageError, match="'compiled', but that runs on a CPU and this is cuda"):
        resolve_scan("compiled", CUDA)
    with pytest.raises(UsageError, match="'fused', but that runs on CUDA and this is cpu"):
        resolve_scan("fused", CPU)


def test_cuda_without_mamba_ssm_takes_torch_and_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_no_mamba_ssm", scan._no_mamba_ssm.__wrapped__)
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    scan._say_once.cache_clear()
    with pytest.warns(match=r"exphil\[cuda\]"):
        assert resolve_scan("auto", CUDA) == "torch"
    with pytest.raises(UsageError, match=r"pip install 'exphil\[cuda\]'"):
        resolve_scan("fused", CUDA)


RESOLVE = "import torch; from exphil_core.models.scan import *; print(resolve_scan('compiled', torch.device('cpu')))"


@pytest.mark.parametrize("kernel", ["compiled"], indirect=True)
def test_a_library_that_was_built_loads_where_the_compiler_has_gone(kernel: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", RESOLVE], env=environment, capture_output=True, text=True, check=True
    )
    assert (found.stdout, found.stderr) == ("compiled\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["compiled"], indirect=True)
def test_of_two_processes_one_builds_and_both_have_it(kernel: str, tmp_path: Path) -> None:
    environment = {**os.environ, "EXPHIL_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", RESOLVE],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in both]
    assert [out for out, _ in said] == ["compiled\n"] * 2
    assert sum("building" in err for _, err in said) == 1
    assert [path.suffix for path in sorted((tmp_path / "compiled").iterdir())] == [".lock", ".so"]


# mamba-ssm's kernels, through a stand-in with their layout and their silence about the last state's gradient.


def _stand_in(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    return_last_state: bool = False,
) -> Any:
    fresh = u.new_zeros(u.shape[0], *A.shape)
    skip = torch.zeros_like(A[:, 0]) if D is None else D
    y, last = _loop(
        *(part.transpose(1, 2) for part in (u, delta)), A, B.transpose(1, 2), C.transpose(1, 2), skip, fresh
    )
    return (y.transpose(1, 2), last.detach()) if return_last_state else y.transpose(1, 2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_states_enter_and_leave_mamba_ssms_scan_with_their_gradients(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_mamba_ssm", lambda: _stand_in)
    _assert_is_the_loop(_inputs(shape, torch.float64), "fused", 1e-9)
    _assert_is_the_loop(_inputs(shape, torch.float32), "fused", 5e-6)


def test_a_fresh_start_needs_no_frames_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    def recording(u: Tensor, *others: Any, **options: Any) -> Any:
        lengths.append(u.shape[2])
        return _stand_in(u, *others, **options)

    monkeypatch.setattr(scan, "_mamba_ssm", lambda: recording)
    *inputs, state = _inputs((2, 9, 4, 3), torch.float64)
    inputs = [part.requires_grad_() for part in inputs]
    y, last = selective_scan(*inputs, None, kernel="fused")
    expected = _loop(*inputs, torch.zeros_like(state))
    torch.testing.assert_close((y, last), expected)
    y.sum().backward(retain_graph=True)
    assert lengths == [9]
    last.sum().backward()
    assert lengths == [9, 12]


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("shape", [*SHAPES, (4, 300, 96, 16)], ids=str)
def test_mamba_ssms_scan_on_cuda_is_the_plain_loop(shape: tuple[int, ...]) -> None:
    reason = scan.why_not("fused", CUDA)
    if reason:
        pytest.skip(reason)
    _assert_is_the_loop(_inputs(shape, torch.float32, CUDA), "fused", 1e-4)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("shape", [*SHAPES, (4, 300, 96, 16)], ids=str)
def test_torchs_scan_on_cuda_is_the_plain_loop(shape: tuple[int, ...]) -> None:
    _assert_is_the_loop(_inputs(shape, torch.float32, CUDA), "torch", 1e-5)
    _assert_is_the_loop(_inputs(shape, torch.float64, CUDA), "torch", 1e-12)
