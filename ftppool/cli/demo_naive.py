"""The demo's first act: many threads, ftplib by hand, a connection for each file.

The code is what one finds in scripts and answers: it is right as long as nothing goes wrong.
"""

from __future__ import annotations

import ftplib
import os
import threading
from collections import Counter
from dataclasses import dataclass, field

from ftppool.cli.demo_host import HOST, PASSWORD

__all__ = ["THREADS", "ByHand"]

THREADS = 8


@dataclass(slots=True)
class ByHand:
    """One run of it.

    Attributes:
        port: The server's port.
        user: Who logs in.
        source: The directory that has the files.
        names: Their names in it.
        arrived: Files sent so far.
        errors: The words of the errors so far, and how often each came.
    """

    port: int
    user: str
    source: str
    names: list[str]
    arrived: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    _connections: list[ftplib.FTP] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: bool = False

    @property
    def done(self) -> int:
        """Files sent or failed so far."""
        return self.arrived + self.errors.total()

    def start(self) -> None:
        """Start the threads; each has its share of the files."""
        for number in range(THREADS):
            share = self.names[number::THREADS]
            thread = threading.Thread(target=self._send_all, args=(share,), daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def running(self) -> bool:
        """True while a thread is at work."""
        return any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Stop the threads and close what the script has left open."""
        self._stop = True
        for thread in self._threads:
            if thread.ident is not None:  # else a Ctrl-C came before its start
                thread.join(10.0)
        for ftp in self._connections:
            ftp.close()

    def _send_all(self, names: list[str]) -> None:
        for name in names:
            if self._stop:
                return
            try:
                self._send(name)
            except (OSError, EOFError, ftplib.Error) as error:
                with self._lock:
                    self.errors[str(error) or type(error).__name__] += 1
            else:
                with self._lock:
                    self.arrived += 1

    def _send(self, name: str) -> None:
        ftp = ftplib.FTP(timeout=10)
        # As long as anything refers to it, be it a traceback, it stays open.
        self._connections.append(ftp)
        ftp.connect(HOST, self.port)
        ftp.login(self.user, PASSWORD)
        directory, _, file_name = name.rpartition("/")
        try:
            ftp.cwd(directory)
        except ftplib.error_perm:
            ftp.mkd(directory)
            ftp.cwd(directory)
        with open(os.path.join(self.source, name), "rb") as file:
            ftp.storbinary(f"STOR {file_name}", file)
        ftp.quit()
