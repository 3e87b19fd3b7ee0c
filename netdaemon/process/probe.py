"""Whether the kernel does on this file system what survival rests on; found out, because nobody promises it."""

from __future__ import annotations

import os

from netdaemon.process.spool import FULL, Spool

_WORD = b"netdaemon"


def splice_works(descriptor: int) -> bool | None:
    """Whether splice moves bytes into a file, and the file's position with them, where a duplicate can see it.

    None: there is no room to find out.

    :param descriptor: an empty file in the place where spools are; it is closed.
    """
    try:
        spool = Spool(descriptor, len(_WORD))
    except OSError:
        os.close(descriptor)
        return None
    shared = os.dup(descriptor)
    reading, writing = os.pipe()
    try:
        before = os.lseek(shared, 0, os.SEEK_CUR)
        os.write(writing, _WORD)
        moved = spool.append_from(reading, 1, len(_WORD), 0)
        after = os.lseek(shared, 0, os.SEEK_CUR)
        return not spool.degraded and moved == after - before == len(_WORD) and os.pread(shared, moved, before) == _WORD
    except OSError as error:
        return None if error.errno in FULL else False
    finally:
        spool.close()
        for one in (shared, reading, writing):
            os.close(one)
