"""Which arithmetic `auto` takes, and how long it looks for it."""

import pytest
import torch

from exphil_core.training.precision import MEASURING, choose_precision

CPU = torch.device("cpu")


class Machine:
    """Passes take as long as they are said to."""

    def __init__(self, *, bf16: float, fp32: float, first: float = 0.0) -> None:
        self.seconds = {torch.bfloat16: bf16, None: fp32}
        self.first = first
        self.now = 0.0
        self.passes: list[torch.dtype | None] = []

    def run(self, dtype: torch.dtype | None) -> None:
        self.now += self.seconds[dtype] + (0.0 if dtype in self.passes else self.first)
        self.passes.append(dtype)

    def choice(self) -> tuple[str, list[str]]:
        said: list[str] = []
        return choose_precision("auto", CPU, self.run, say=said.append, clock=lambda: self.now), said


@pytest.mark.parametrize(("bf16", "expected"), [(0.05, "bf16"), (0.095, "fp32"), (0.2, "fp32")])
def test_what_is_clearly_faster_is_taken_and_a_first_pass_does_not_count(bf16: float, expected: str) -> None:
    machine = Machine(bf16=bf16, fp32=0.1, first=0.5)
    assert machine.choice() == (expected, [MEASURING])
    assert len(machine.passes) == 8


def test_a_slow_machine_is_not_measured_for_longer_than_one_pass_of_each() -> None:
    machine = Machine(bf16=10.0, fp32=30.0)
    assert machine.choice()[0] == "bf16"
    assert machine.passes == [torch.bfloat16, None]


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_what_is_asked_for_is_not_measured(wanted: str) -> None:
    machine = Machine(bf16=1.0, fp32=1.0)
    assert choose_precision(wanted, CPU, machine.run, say=lambda text: pytest.fail(text)) == wanted
    assert machine.passes == []
