"""Whether the kernel does on this file system what survival rests on; found out, because nobody promises it."""

from __future__ import annotations

import os

from netdaemon.process.spool import Spool

_WORD = b"netdaemon"


def splice_works(descriptor: int) -> bool:
    """Whether splice moves bytes into a file, and the file's position with them, where a duplicate can see it.

    :param descriptor: an empty file in the place where spools are; it is closed.
    """
    shared = os.dup(descriptor)
    reading, writing = os.pipe()
    spool = Spool(descriptor, len(_WORD))
    try:
        before = os.lseek(shared, 0, os.SEEK_CUR)
        os.write(writing, _WORD)
        moved = spool.append_from(reading, 1, len(_WORD), 0)
        after = os.lseek(shared, 0, os.SEEK_CUR)
        return not spool.degraded and moved == after - before == len(_WORD) and os.pread(shared, moved, before) == _WORD
    except OSError:
        return False
    finally:
        spool.close()
        for one in (shared, reading, writing):
            os.close(one)
