"""A shard's file, read on this machine or anywhere else, with as few requests as memory allows."""

import io

from jobs.storage.files import file_system, is_local

AHEAD = 8 << 20  # bytes of an object that a request brings


class ShardFile(io.RawIOBase):
    """A file as PyArrow and others want it, which remembers whether it was the storage that failed: a decoder that
    stumbles raises the same kind of error."""

    def __init__(self, uri: str):
        self._fs, path = file_system(uri)  # kept, since a ZIP archive closes its files when it goes
        # Each request brings what is asked for: PyArrow goes from column to column.
        self._file = self._fs.open(path, "rb", **({} if is_local(uri) else {"cache_type": "none"}))
        self.is_local = is_local(uri)
        self.size = self._file.seek(0, io.SEEK_END)
        self.failure: Exception | None = None
        self._at = 0
        self._window, self._window_at = b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self.size if size is None or size < 0 else min(self._at + size, self.size)
        start = self._at - self._window_at
        if start >= 0 and end <= self._window_at + len(self._window):
            data = self._window[start : end - self._window_at]
        else:
            data = self._read(self._at, end)
        self._at += len(data)
        return data

    def hold(self, start: int, end: int) -> None:
        """Read these bytes at once and keep them until others are held; on this machine the system does so itself."""
        if self.is_local:
            return
        self._window = b""
        self._window, self._window_at = self._read(start, min(end, self.size)), start

    def read_ahead(self, size: int) -> bytes:
        """As ``read`` does, where what follows will be read as well. No byte is asked for twice."""
        if self.is_local:
            return self.read(size)
        end, window_end = min(self._at + size, self.size), self._window_at + len(self._window)
        head = b""
        if not self._window_at <= self._at < window_end:
            window_end = self._at
        else:
            head = self._window[self._at - self._window_at : end - self._window_at]
        if end - window_end > AHEAD:
            data = head + self._read(window_end, end)
        elif end > window_end:
            self.hold(window_end, window_end + AHEAD)
            data = head + self._window[: end - window_end]
        else:
            data = head
        self._at += len(data)
        return data

    def _read(self, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        try:
            self._file.seek(start)
            data = self._file.read(end - start)
            if len(data) < end - start:
                raise OSError("it has become shorter while it was read")
            return data
        except Exception as error:
            self.failure = error
            raise

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
