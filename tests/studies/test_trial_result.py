"""What is read from a run's events: also from one that was paused, killed and resumed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from exphil_core.errors import DataError
from exphil_core.studies.trial_result import reached, read_measures


class Told:
    """Events at seconds of a clock."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, second: float, type: str, **fields: Any) -> None:
        when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
        self.events.append({"type": type, "ts": when.isoformat(), **fields})

    def started(self, second: float, resumed_from: int | None = None) -> None:
        self(
            second, "run_started", parameters=1234, device="cpu", precision="fp32", resumed_from=resumed_from
        )

    def evaluated(self, second: float, step: int, loss: float, **fields: Any) -> None:
        self(second, "evaluated", step=step, loss=loss, per_character={}, **fields)

    def measures(self) -> Any:
        return read_measures(self.events, host="here", beside=False, revision="")


@pytest.fixture
def told() -> Told:
    return Told()


def end(told: Told, second: float) -> None:
    told(
        second, "evaluated", step=20, loss=0.45, best=True, baseline_marginal=2.0, baseline_repeat=0.9,
        baseline_markov=0.8, per_character={"zelda": {"loss": 0.45, "frames": 7, "floor": 0.4, "closed": 0.9}},
    )  # fmt: skip
    told(second, "run_finished", status="done", step=20, summary={"frames": 2000, "seconds": 40.0})


def test_the_number_that_counts_is_of_the_best_checkpoint_on_all_held_out_games(told: Told) -> None:
    told.started(0)
    told(5, "step", step=10, frames_per_s=50.0)
    told(9, "step", step=20, frames_per_s=70.0)
    told.evaluated(10, 20, 0.4)
    end(told, 12)
    found = told.measures()
    assert (found.loss, found.baseline, found.frames, found.seconds, found.steps) == (
        0.45,
        0.8,
        2000,
        40.0,
        20,
    )
    assert (found.parameters, found.frames_per_s) == (1234, 60.0)
    assert found.per_character["zelda"].closed == 0.9
    # The last evaluation is of other games than those that are watched.
    assert [(point.frames, point.loss) for point in found.curve] == [(2000, 0.4)]


def test_steps_that_a_resume_took_again_count_once_and_seconds_without_a_process_not_at_all(
    told: Told,
) -> None:
    told.started(0)
    told.evaluated(10, 5, 0.9)
    told(11, "checkpoint_saved", step=5)
    told.evaluated(20, 10, 0.8)
    told.started(1000, resumed_from=5)
    told.evaluated(1010, 10, 0.7)
    end(told, 1012)
    assert [(p.step, p.seconds, p.loss) for p in told.measures().curve] == [(5, 10.0, 0.9), (10, 21.0, 0.7)]


def test_a_pause_is_not_time_trained(told: Told) -> None:
    told.started(0)
    told(10, "command", command="pause", state="received")
    told(10, "command", command="pause", state="done")
    told(500, "command", command="resume", state="done")
    told.evaluated(510, 10, 0.7)
    end(told, 512)
    assert [point.seconds for point in told.measures().curve] == [20.0]


def test_the_first_evaluation_below_a_loss_is_when_it_was_reached(told: Told) -> None:
    told.started(0)
    for step, loss in ((5, 0.9), (10, 0.6), (15, 0.7), (20, 0.5)):
        told.evaluated(step, step, loss)
    end(told, 30)
    curve = told.measures().curve
    point = reached(curve, 0.65)
    assert point is not None
    assert point.step == 10
    assert reached(curve, 0.4) is None


def test_a_run_that_was_killed_before_its_last_word_has_no_measures(told: Told) -> None:
    told.started(0)
    told.evaluated(10, 10, 0.7)
    with pytest.raises(DataError, match="do not hold the evaluation"):
        told.measures()
