"""The memory limit of the processes that parse untrusted replays."""

import resource


def limit_memory(mib: int) -> str | None:
    """Limit this process's address space. Return the error where the system has no such limit, as macOS."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (mib * 2**20, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ValueError, OSError) as error:
        return str(error)
    return None
