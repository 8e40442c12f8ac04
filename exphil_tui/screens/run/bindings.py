"""Key bindings and help text of the run screen."""

from textual.binding import Binding, BindingType

from exphil_tui.services.pilots import CORES

RUN_BINDINGS: list[BindingType] = [
    Binding("p", "pause", "Pause", tooltip="Pause the run; its process keeps its memory"),
    Binding("p", "unpause", "Continue", tooltip="Continue the paused run"),
    Binding("k", "save_checkpoint", "Checkpoint", tooltip="Save a checkpoint now"),
    Binding("s", "stop_run", "Stop", tooltip="Stop and save, or keep it running"),
    Binding("r", "resume_run", "Resume", tooltip="Resume from the newest checkpoint"),
    Binding("v", "toggle_validation", "Train/validation"),
    Binding("h", "toggle_heads", "Per head", show=False),
    Binding(
        "l", "toggle_full_screen('log')", "Log", show=False, tooltip="Show the log full-screen, and back"
    ),
    Binding(
        "g",
        "toggle_pilot",
        "Start or stop the pilot",
        show=False,
        tooltip=f"Start or stop a pilot: it plays at 60 FPS beside the run and uses about {CORES} of a core",
    ),
    Binding(
        "f",
        "toggle_full_screen('gauge')",
        "Gauge full-screen",
        show=False,
        tooltip="Show the gauge full-screen with a histogram, and back",
    ),
    Binding(
        "w",
        "watch_pilot",
        "Watch the pilot",
        show=False,
        tooltip="Watch the pilot's game and the policy's predictions live",
    ),
    Binding("tab", "next_panel(1)", "Panel"),
    Binding("shift+tab", "next_panel(-1)", "Previous panel", show=False),
    # When the actions above are disabled, the same keys explain why.
    Binding("p", "refuse('pause')", show=False),
    Binding("k", "refuse('checkpoint')", show=False),
    Binding("s", "refuse('stop')", show=False),
    Binding("r", "refuse('resume')", show=False),
    # Keys of the chart, independent of the focus.
    Binding("plus,equals_sign", "chart('zoom(1)')", show=False),
    Binding("minus", "chart('zoom(-1)')", show=False),
    Binding("left", "chart('move(-1)')", show=False),
    Binding("right", "chart('move(1)')", show=False),
    Binding("end", "chart('show_newest')", show=False),
    Binding("0", "chart('show_everything')", show=False),
    Binding("y", "chart(\"toggle_log('y')\")", show=False),
    Binding("x", "chart(\"toggle_log('x')\")", show=False),
    Binding("m", "chart('toggle_cursor')", show=False),
]

RUN_HELP = """\
The chart shows the loss in nats per frame; lower is better. Bright lines are smoothed over recent steps, dim dots are
the measured values. Dashed lines are the best baseline and, for games between known bots, the floor.
"change" is since the previous validation (validation) or since the newest validation (training).
"marginal", "repeat" and "markov" are baselines: they know only how often each input occurs, repeat the last input, or
know what usually follows the last input. "gap closed" is the share of the gap between the best baseline and the floor
that the policy has closed.
"buttons": how often the policy holds each button, compared with the human; a bar to the middle means equally often.
"data wait" is the share of the time that training waits for data.
"gauge": how long the policy takes per frame while a pilot plays with its newest weights. The bar reaches to the p95,
the notch is the p50, and the fixed line marks the 16.67 ms of a frame. Below it are the slowest frames of the last
ten seconds, with a mark over missed deadlines. "in time" means a p99 below the budget and at most one missed deadline
in a hundred.
Panels: Tab moves to the next; the arrow keys select a character, whose buttons are then shown.
Leaving this screen does not affect the run, but stops a pilot that was started here. s asks before it stops the
run."""
