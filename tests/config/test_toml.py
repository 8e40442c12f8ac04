"""What is written as TOML is read back as it was."""

import tomllib

from exphil_core.config.toml import write_toml


def test_written_values_read_back_equal() -> None:
    values = {
        "number": 1e-5,
        "big": 1e300,
        "whole": 3.0,
        "count": -7,
        "yes": True,
        "text": 'quote " back \\ line \n tab \t bell \x07 del \x7f é 日本 😀',
        "list": ["a b", 'c"d'],
        "empty": [],
        "table": {"key with space": 1, "inner": {"x": 0.1}, "nothing": {}},
    }
    assert tomllib.loads(write_toml(values)) == values
