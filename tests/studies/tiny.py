"""The file of a study that is small enough for a test, and a value of its axis that starts from another."""

TINY = """\
about = "Does width help?"
decides = "The loss of wide against narrow."
preset = "quick"
seeds = [0, 1]
against = "narrow"

[data]
games = 6

[budget]
frames = 6_400

[set.train]
batch_size = 4
chunk_length = 32
warmup_steps = 2
precision = "fp32"
device = "cpu"

[set.backbone]
window_size = 16
layers = 1
heads = 2

[set.policy]
head_width = 16

[set.evaluation]
every_minutes = "none"
max_frames = 2000

[axes.width.values.narrow]
backbone.width = 16
encoder.width = 16

[axes.width.values.wide]
backbone.width = 32
encoder.width = 32

[quick]
budget.frames = 3_200
"""

AFTER = """
[axes.width.values.after]
starts_from = "narrow"
against = "wide"
backbone.width = 16
encoder.width = 16
"""
