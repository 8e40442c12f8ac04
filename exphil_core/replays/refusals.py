"""Reasons for refusing a file: a stable short name and a sentence for each.

The names are an interface: `exphil data build --json` counts by them, and datasets store them.
"""

from exphil_core.errors import DataError

REASONS: dict[str, str] = {
    "not_slippi": "the file does not start as a Slippi replay does",
    "unreadable": "the file could not be opened or read",
    "unreadable_folder": "the folder could not be opened or read",
    "vanished": "the file does not exist or was removed",
    "not_a_file": "it is no regular file",
    "link_loop": "the link leads back to itself or to a folder that contains it",
    "broken_link": "the link leads to nothing",
    "unsupported_format": "files of this kind are not read",
    "no_frames": "no complete frame was written",
    "corrupt": "the parser could not make sense of its bytes",
    "bad_payload_size": "an event's size is impossible or not known to the parser",
    "bad_game_end": "it ends in a way that no match does (target tests and home-run contests do)",
    "bad_frame_ids": "its frames do not follow each other from -123 on",
    "impossible_values": "it holds a value that the game cannot have: the file is damaged",
    "bad_dojo_metadata": "its `dojo` metadata cannot be read",
    "parser_panic": "the parser panicked on it",
    "reader_failed": "reading it failed unexpectedly: please report it",
    "parser_died": "the parser's process died on it",
    "out_of_time": "parsing it took longer than the time limit",
    "out_of_memory": "parsing it took more memory than the limit",
    "archive_corrupt": "the archive or compressed file is damaged, or of a kind that cannot be read",
    "archive_encrypted": "the archive or member is encrypted",
    "archive_too_large": "the archive unpacks to more than the limits allow",
    "member_too_large": "it unpacks to more than the limits allow",
    "nested_archive": "an archive within an archive is not opened",
    "unsafe_member": "the member's name leaves the archive's folder",
    "needs_archives_extra": "reading .7z needs py7zr: pip install 'exphil[archives]'",
}


class Refused(DataError):
    """A file is refused. `reason` is a key of `REASONS`; the message names the file and what was found."""

    def __init__(self, reason: str, subject: str, detail: str = "") -> None:
        assert reason in REASONS, reason
        self.reason = reason
        self.detail = f"{REASONS[reason]} ({detail})" if detail else REASONS[reason]
        super().__init__(f"{subject}: {self.detail}")
