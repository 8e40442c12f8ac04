"""The gauge in the workbench: how it looks in every state, and what it says where there is nothing to measure."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar

import pytest
from textual.app import ComposeResult
from textual.geometry import Size

from exphil_tui.app import Workbench
from exphil_tui.model.run_state import RunState
from exphil_tui.services.pilots import PilotSnapshot
from exphil_tui.theme.glyphs import ASCII, UNICODE, Glyphs
from exphil_tui.widgets.gauge import (
    RUN_LATENCY_MAX_AGE_S,
    Gauge,
    GaugeReading,
    PilotProcessState,
    gauge_reading,
)
from exphil_tui.widgets.text_panel import plain
from tests.latencies import KINDS, moments, record

Compare = Callable[..., bool]

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC).timestamp()

NONE = GaugeReading(sentence="no pilot running: g starts one; it uses about 0.7 of a core")

PANELS = [(80, 8), (81, 9), (80, 22), (120, 37)]
"""Cells of the panel: one of several on a small terminal, beside others on a large one, and the whole of both."""


def read(kind: str) -> GaugeReading:
    if kind == "none":
        return NONE
    if kind == "stale":
        return GaugeReading(
            latency=record("fast"),
            moments=moments("fast"),
            stale="stopped 12 s ago",
            sentence="no pilot running: g starts one; it uses about 0.2 of a core",
        )
    return GaugeReading(latency=record(kind), moments=moments(kind))


class GaugeApp(Workbench):
    """The workbench's colours and letters, and nothing but a gauge, in however small a terminal."""

    CSS_PATH = None
    MODES: ClassVar = {}
    DEFAULT_MODE = "_default"

    def __init__(self, shown: GaugeReading, *, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(glyphs=glyphs)
        self._shown = shown

    def compose(self) -> ComposeResult:
        yield Gauge()

    def on_mount(self) -> None:
        self.query_one(Gauge).show(self._shown)

    def _mind_size(self, size: Size) -> None:
        pass


SIZES = pytest.mark.parametrize("size", PANELS, ids=["80x8", "81x9", "80x22", "120x37"])


@SIZES
@pytest.mark.parametrize("kind", [*KINDS, "stale", "none"])
def test_every_state_looks_as_it_did(kind: str, size: tuple[int, int], snap_compare: Compare) -> None:
    assert snap_compare(GaugeApp(read(kind)), terminal_size=size)


@SIZES
@pytest.mark.parametrize("kind", [*KINDS, "stale", "none"])
def test_in_ascii_it_looks_as_it_did(kind: str, size: tuple[int, int], snap_compare: Compare) -> None:
    assert snap_compare(GaugeApp(read(kind), glyphs=ASCII), terminal_size=size)


@SIZES
@pytest.mark.parametrize("kind", ["borderline", "over", "stale"])
def test_without_colour_it_looks_as_it_did(
    kind: str, size: tuple[int, int], snap_compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(GaugeApp(read(kind)), terminal_size=size)


# What is read, and why nothing is.

PASSED_ON = RunState(latency=record("over"), moments=moments("over"))
PLAYING = PilotSnapshot(alive=True, fresh=True, latency=record("fast"), moments=moments("fast"))


def found(
    pilot: PilotSnapshot = PLAYING,
    state: RunState | None = None,
    *,
    doing: PilotProcessState | None = None,
    run_alive: bool = True,
    now: float = NOW,
) -> GaugeReading:
    return gauge_reading(
        pilot,
        state or RunState(),
        doing=doing or PilotProcessState(),
        run_alive=run_alive,
        now=now,
        glyphs=UNICODE,
    )


def test_a_pilot_that_plays_is_what_is_read() -> None:
    shown = found(PLAYING, PASSED_ON)
    assert shown == GaugeReading(latency=PLAYING.latency, moments=PLAYING.moments)


def test_what_the_pilot_costs_the_training_is_known_from_the_run() -> None:
    shown = found(PLAYING, RunState(latency=record("over", snapshot_ms=1.25)))
    assert shown.latency is not None
    assert shown.latency.p50_ms == record("fast").p50_ms
    assert shown.latency.snapshot_ms == 1.25


@pytest.mark.parametrize(
    ("ago", "run_alive", "stale"), [(9.0, True, False), (9.0, False, True), (26.0, True, True)]
)
def test_without_a_pilot_s_file_it_is_what_the_run_passed_on(
    ago: float, run_alive: bool, stale: bool
) -> None:
    assert ago < RUN_LATENCY_MAX_AGE_S or stale
    shown = found(PilotSnapshot(), PASSED_ON, run_alive=run_alive, now=NOW - 0.1 + ago)
    assert shown.latency is PASSED_ON.latency
    assert shown.stale == (f"stopped {ago:.0f} s ago" if stale else "")


@pytest.mark.parametrize(
    ("pilot", "doing", "words"),
    [
        (PilotSnapshot(), PilotProcessState(), "no pilot running: g starts one; it uses about 0.7 of a core"),
        (PilotSnapshot(), PilotProcessState(ours=True), "Starting the pilot"),
        (PilotSnapshot(), PilotProcessState(ours=True, ending=True), "The pilot is stopping"),
        (
            PilotSnapshot(),
            PilotProcessState(problem="It ended: no replay."),
            "It ended: no replay. (g restarts it)",
        ),
        (PilotSnapshot(alive=True), PilotProcessState(), "has not played yet"),
        (PilotSnapshot(alive=True, loading=1240), PilotProcessState(ours=True), "loading step 1,240"),
        (
            PilotSnapshot(alive=True, loading=1240, latency=record("fast"), moments=moments("fast")),
            PilotProcessState(),
            "loading step 1,240",
        ),
        (PilotSnapshot(alive=True, warning="no weights yet"), PilotProcessState(ours=True), "no weights yet"),
        (
            PilotSnapshot(latency=record("fast"), moments=moments("fast")),
            PilotProcessState(),
            "no pilot running: g starts one; it uses about 0.2 of a core",
        ),
    ],
)
def test_why_nothing_is_measured_is_a_sentence(
    pilot: PilotSnapshot, doing: PilotProcessState, words: str
) -> None:
    assert words in found(pilot, doing=doing).sentence


def test_since_when_it_is_stale_goes_on() -> None:
    pilot = PilotSnapshot(latency=record("fast"))
    assert found(pilot, now=NOW + 11.9).stale == "stopped 12 s ago"
    assert found(pilot, now=NOW + 7200).stale == "stopped 2 h ago"
    # Another machine's clock may be ahead.
    assert found(pilot, now=NOW - 100).stale == "stopped 0 s ago"


async def test_a_sentence_takes_the_place_of_what_is_below() -> None:
    app = GaugeApp(read("stale"))
    async with app.run_test(size=(80, 8)):
        gauge = app.query_one(Gauge)
        lines = plain(gauge.picture(80, UNICODE).lines).splitlines()
        assert len(lines) == 7
        assert lines[-1].strip().startswith("no pilot running: g starts one")
