"""Faults of this machine that say nothing about what they befell. Standard library only: start-up asks it too."""

from __future__ import annotations

import errno

OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})


def out_of_files(error: BaseException) -> bool:
    """Say whether the file table is full: nothing is wrong with the file that was to be opened."""
    return isinstance(error, OSError) and error.errno in OUT_OF_FILES
