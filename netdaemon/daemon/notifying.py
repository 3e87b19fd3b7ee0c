"""Where the sockets are on which processes say that they are ready, and alive; knows no processes."""

from __future__ import annotations

import os
import shutil
import tempfile

from netdaemon.process.notify import bind


class NotifyFolder:
    """A folder with a socket for each process that has something to say.

    :param path: where; None: a temporary one, which goes with this program.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._temporary = path is None

    def bind(self, id: str, uid: int | None = None) -> tuple[str, int]:
        """A socket for the process *id*: its path and its descriptor.

        :param uid: whose it is to be; None: this program's own user.
        :raises OSError: there is none to be had.
        """
        if self._path is None:
            self._path = tempfile.mkdtemp(prefix="netdaemon-")
        os.makedirs(self._path, 0o700, exist_ok=True)
        path = os.path.join(self._path, id)
        descriptor = bind(path)
        if uid is not None and uid != os.geteuid():
            try:
                # Others come through, and see no names.
                os.chmod(self._path, 0o711)
                os.chown(path, uid, -1, follow_symlinks=False)
            except OSError:
                os.close(descriptor)
                raise
        return path, descriptor

    def remove(self, id: str) -> None:
        """There is no such process any more."""
        if self._path is not None:
            try:
                os.unlink(os.path.join(self._path, id))
            except OSError:
                # It never had one.
                pass

    def close(self) -> None:
        """There are no processes any more."""
        if self._path is not None and self._temporary:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path = None
