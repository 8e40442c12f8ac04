"""Write nested mappings of strings, numbers, booleans and lists as TOML that `tomllib` reads back equal.

TOML has no null: the caller leaves out keys with None.
"""

from collections.abc import Mapping


def write_toml(values: Mapping[str, object]) -> str:
    """Return `values` as a TOML document: plain keys first, then one table for each mapping."""
    # Imported here: the workbench imports `runs.directory` at start and writes no TOML then.
    import tomli_w

    return tomli_w.dumps(values)
