"""Benchmark: selective scan against loops over time through autograd, forward and backward, in float32.

Reports per shape the milliseconds of the reference loop, a loop of single steps, the PyTorch scan with its own
backward and the compiled scan, with ratios and errors against the reference in float64. Inputs are like those of a
newly initialised Mamba. All alternate in this process; figures are medians.

The reference is the published form: decays and inputs of all frames at once, then a loop over them. Its backward
makes a tensor of the whole chunk for each frame, so its cost grows with the square of the length. The loop of single
steps slices only small tensors and is the stronger baseline.
"""

# Must come first: it sets OpenMP's spin count, which is read when torch is loaded.
import exphil_core  # noqa: F401

# isort: split
import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from exphil_core.models.scan import scan_step, selective_scan, why_not

JUDGED = "16 x 180, 512 x 16"
SHAPES = {JUDGED: (16, 180, 512, 16), "16 x 120, 1024 x 16": (16, 120, 1024, 16)}
"""Batch × frames, channels × state values."""
TORCH_GOAL, COMPILED_GOAL = 40.0, 4.0
"""Speed goals on the judged shape: PyTorch scan over the reference, and compiled scan over the PyTorch scan."""
ROUNDS, REFERENCE_ROUNDS = 9, 3
ROWS_COMPARED = 2

Scan = Callable[..., tuple[Tensor, Tensor]]


def reference(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    decay_BTIN = torch.exp(dt[..., None] * A)
    input_BTIN = (dt * u)[..., None] * B[:, :, None]
    out = []
    for t in range(u.shape[1]):
        state = decay_BTIN[:, t] * state + input_BTIN[:, t]
        out.append(torch.einsum("bin,bn->bi", state, C[:, t]))
    return torch.stack(out, dim=1) + u * D, state


def steps(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    out = []
    for t in range(u.shape[1]):
        y, state = scan_step(u[:, t], dt[:, t], A, B[:, t], C[:, t], D, state)
        out.append(y)
    return torch.stack(out, dim=1), state


def of_torch(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    return selective_scan(*inputs, kernel="torch")


def of_cpp(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    return selective_scan(*inputs, kernel="compiled")


def inputs_of(batch: int, length: int, inner: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    """Make inputs as at Mamba's initialisation: step sizes from 0.001 to 0.1, decays from 1 to `width`."""
    generator = torch.Generator().manual_seed(0)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    typical = torch.exp(-6.9 + 4.6 * torch.rand(inner, generator=generator, dtype=torch.float64))
    made = [
        normal(batch, length, inner),
        typical * torch.exp(0.5 * normal(batch, length, inner)),
        -torch.arange(1.0, width + 1).expand(inner, width).contiguous(),
        normal(batch, length, width),
        normal(batch, length, width),
        torch.ones(inner),
        normal(batch, inner, width),
    ]
    return [part.to(dtype).requires_grad_() for part in made]


def seconds(scan: Scan, inputs: list[Tensor], gy: Tensor) -> float:
    began = time.perf_counter()
    y, _ = scan(*inputs)
    torch.autograd.grad(y, inputs, gy)
    return time.perf_counter() - began


def results(scan: Scan, shape: tuple[int, int, int, int], dtype: torch.dtype) -> list[Tensor]:
    """Outputs and gradients for a few rows."""
    inputs = inputs_of(ROWS_COMPARED, *shape[1:], dtype)
    y, last = scan(*inputs)
    ones = [torch.ones_like(y), torch.ones_like(last)]
    return [y.detach(), last.detach(), *torch.autograd.grad([y, last], inputs, ones)]


def errors(scans: dict[str, Scan], shape: tuple[int, int, int, int]) -> dict[str, object]:
    """Largest difference from the reference in float64, as a share of the largest value."""
    exact = results(reference, shape, torch.float64)
    found: dict[str, object] = {}
    for name, scan in scans.items():
        shares = [
            ((one.double() - other).abs().max() / other.abs().max()).item()
            for one, other in zip(results(scan, shape, torch.float32), exact, strict=True)
        ]
        found[f"{name}_error_of_outputs"] = max(shares[:2])
        found[f"{name}_error_of_gradients"] = max(shares[2:])
    return found


def measure(shape: tuple[int, int, int, int], rounds: int) -> dict[str, object]:
    scans: dict[str, Scan] = {"reference": reference, "steps": steps, "torch": of_torch}
    if why_not("compiled", torch.device("cpu")) is None:
        scans["compiled"] = of_cpp
    inputs = inputs_of(*shape, torch.float32)
    gy = torch.ones_like(inputs[0])
    spent: dict[str, list[float]] = {name: [] for name in scans}
    for round_ in range(rounds + 1):  # the first round warms up and is left out
        for name, scan in scans.items():
            if name != "reference" or 0 < round_ <= REFERENCE_ROUNDS:
                taken = seconds(scan, inputs, gy)
                if round_:
                    spent[name].append(taken)
    middle = {name: 1000 * statistics.median(taken) for name, taken in spent.items()}
    found: dict[str, object] = {f"{name}_ms": taken for name, taken in middle.items()}
    found["steps_to_torch"] = middle["steps"] / middle["torch"]
    found["reference_to_torch"] = middle["reference"] / middle["torch"]
    if "compiled" in middle:
        found["torch_to_compiled"] = middle["torch"] / middle["compiled"]
    if shape == SHAPES[JUDGED]:
        found |= {"torch_goal": TORCH_GOAL, "compiled_goal": COMPILED_GOAL}
        found["torch_reaches_goal"] = middle["reference"] / middle["torch"] >= TORCH_GOAL
        found["compiled_reaches_goal"] = (
            "compiled" in middle and middle["torch"] / middle["compiled"] >= COMPILED_GOAL
        )
    return {**found, **errors(scans, shape)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, help="one of the two; both without it")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    names = [chosen.shape] if chosen.shape else list(SHAPES)
    found = {name: measure(SHAPES[name], chosen.rounds) for name in names}
    found_on = {
        "threads": torch.get_num_threads(),
        "compiled": why_not("compiled", torch.device("cpu")) or "there",
    }
    if chosen.json:
        print(json.dumps({**found_on, "shapes": found}))
        return
    for key, value in found_on.items():
        print(f"{key:28} {value}")
    for name, figures in found.items():
        print(f"\n{name}")
        for key, value in figures.items():
            shown = (
                value
                if not isinstance(value, float)
                else f"{value:.1e}"
                if "error" in key
                else f"{value:.1f}"
            )
            print(f"{key:28} {shown}")


if __name__ == "__main__":
    main()
