"""Key bindings and help text of the replay screen."""

from textual.binding import Binding, BindingType

REPLAY_BINDINGS: list[BindingType] = [
    Binding("space", "play", "Play", key_display="space", tooltip="Play or pause"),
    Binding("left", "move(-1)", "Back", tooltip="Previous frame, and pause", show=False),
    Binding("right", "move(1)", "Forward", tooltip="Next frame, and pause", show=False),
    Binding("shift+left", "move(-10)", "Ten frames back", show=False),
    Binding("shift+right", "move(10)", "Ten frames forward", show=False),
    Binding("ctrl+left,comma", "move(-60)", "One second back", show=False),
    Binding("ctrl+right,full_stop", "move(60)", "One second forward", show=False),
    Binding("left_square_bracket", "speed(-1)", "Slower", show=False),
    Binding("right_square_bracket", "speed(1)", "Faster", show=False),
    Binding("g", "jump", "Go to", tooltip="Go to a frame (-39, 1200) or a time (1:23)"),
    Binding("s", "event('stock', 1)", "Stock", tooltip="Next stock loss"),
    Binding("S", "event('stock', -1)", "Previous stock loss", show=False),
    Binding("h", "event('hit', 1)", "Hit", tooltip="Next hit"),
    Binding("H", "event('hit', -1)", "Previous hit", show=False),
    Binding("d", "event('disagreement', 1)", "Differs", tooltip="Next disagreement of the policy"),
    Binding("D", "event('disagreement', -1)", "Previous disagreement of the policy", show=False),
    Binding("e", "ego", "Player", tooltip="Switch the player whose predictions are shown"),
    Binding("p", "panel", "Predictions", tooltip="Show predictions in place of the stage"),
    Binding("c", "policy", "Policy", tooltip="Choose a policy and show its predictions"),
    Binding("c", "another_policy", "Choose another policy", show=False),
    Binding("l", "sampled", "Controller: most likely or sampled input", show=False),
    Binding("z", "whole", "Zoom: whole stage or players", show=False),
    Binding("o", "another", "Open another replay", show=False),
    Binding("home", "move_to(0)", "First frame", show=False),
    Binding("end", "end", "Last frame, or live", show=False),
    Binding("escape", "leave", "Go back", show=False),
]

REPLAY_HELP = """\
Space plays and pauses. The arrow keys step by one frame, with Shift by 10, with Ctrl (or , and .) by 60: one second.
Times are game time. Frames are given by frame id, from -123; the match begins at 0.
The timeline at the bottom shows the whole game: stocks, hits, and where the policy differs. Click to go there.
On a controller, filled shapes are the human's input, outlines the policy's prediction.
A prediction is for the frame that is shown. It was made from the frames up to an earlier one, by the policy's delay
plus one. "human" is the probability that the policy gave the human's input; "loss" is that in nats: lower is better.
"agrees": the most likely input is the human's. "drawn" is the sampled input, which the policy would have played.
A dash means that this version of Slippi does not record the value.
While a pilot is watched, any key that moves leaves the live view, and End returns to it."""
