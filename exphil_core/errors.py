"""User-facing errors and their exit codes.

A message is a sentence: where, what was found, what was expected, the nearest right answer.
"""

import errno
import resource


class ExphilError(ValueError):
    """Base class of expected errors; shown as the message alone, without a traceback."""

    exit_code = 1


class UsageError(ExphilError):
    """A wrong option or preset, or a run that another process holds."""

    exit_code = 2


class DataError(ExphilError):
    """Replays or a dataset that cannot be used."""

    exit_code = 3


class InaccessibleError(DataError):
    """A dataset that cannot be opened or read now, without evidence that it is damaged."""


class DivergedError(ExphilError):
    """A loss or gradient that is not finite."""

    exit_code = 4


class CheckpointError(ExphilError):
    """A checkpoint that is missing, damaged or of another shape."""

    exit_code = 5


class InaccessibleCheckpointError(ExphilError):
    """A checkpoint that cannot be read now, without evidence of damage; no older checkpoint is used instead."""

    exit_code = 5


class DiskFullError(ExphilError):
    """No disk space left for a write."""

    exit_code = 6


def explain_os_error(error: OSError) -> str | None:
    """Explain why a file cannot be opened or read, and what helps; None if the error is about the file itself."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        whose = (
            f"a process may open {limit} (`ulimit -n`)"
            if error.errno == errno.EMFILE
            else "the system's limit"
        )
        return (
            f"too many files are open: {whose}; nothing is damaged. Raise the limit, for example with "
            f"`ulimit -n {max(4096, 4 * limit)}`, and start again"
        )
    if error.errno in (errno.ENOMEM, errno.EAGAIN):
        return (
            f"there is not enough memory ({error.strerror}); nothing is damaged. "
            "Close other programs and start again"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"it may not be read ({error.strerror}); it is not known to be damaged. Change its permissions"
    if error.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO):
        return (
            f"the disk does not answer ({error.strerror}); the file is not known to be damaged. "
            "Check the disk or the network, and start again"
        )
    return None
