"""The line of a key is found whatever form its statement has."""

from exphil_core.config.sources import key_lines


def test_keys_are_found_over_long_values_comments_and_inline_tables() -> None:
    text = '''# [train]
name = """
[train]
lr = 1
"""
[data]
replays = [  # two
  "[encoder]",
  "a = 1",
]
'quoted' = 1
  [ "backbone" ]  # spaces
kind = "gru"
[train]
lr = 1
evaluation = { rows = 3, "every" = 2 }
a.b = 4
'''
    lines = key_lines(text)
    assert lines == {
        "name": 2,
        "data": 6,
        "data.replays": 7,
        "data.quoted": 11,
        "backbone": 12,
        "backbone.kind": 13,
        "train": 14,
        "train.lr": 15,
        "train.evaluation": 16,
        "train.evaluation.rows": 16,
        "train.evaluation.every": 16,
        "train.a": 17,
        "train.a.b": 17,
    }
