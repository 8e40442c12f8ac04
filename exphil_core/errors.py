"""What a person can mend: every expected failure, with the exit code that scripts rely on (CLI.md).

A message is a sentence: where, what was found, what was expected, the nearest right answer.
"""


class ExphilError(ValueError):
    """Shown as its message alone, without a traceback."""

    exit_code = 1


class UsageError(ExphilError):
    """A wrong option or preset, or a run that another process holds."""

    exit_code = 2


class DataError(ExphilError):
    """Replays or a dataset that cannot be used."""

    exit_code = 3


class DivergedError(ExphilError):
    """A loss or gradient that is not finite."""

    exit_code = 4


class CheckpointError(ExphilError):
    """A checkpoint that is missing, damaged or of another shape."""

    exit_code = 5


class DiskFullError(ExphilError):
    """No room for what had to be written."""

    exit_code = 6
