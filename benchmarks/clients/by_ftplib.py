"""ftplib by hand: one session a thread; no part name, no check of the size."""

from __future__ import annotations

import ftplib
import os
import sys
import threading

from benchmarks.clients.tree import walk


def main() -> None:
    host, port, user, password, folder, connections, _ = sys.argv[1:]
    directories, files = walk(folder)

    def connect() -> ftplib.FTP:
        ftp = ftplib.FTP()
        ftp.connect(host, int(port))
        ftp.login(user, password)
        return ftp

    if directories:
        with connect() as ftp:
            for directory in directories:
                ftp.mkd(directory)
    names, lock = iter(files), threading.Lock()

    def work() -> None:
        with connect() as ftp:
            while True:
                with lock:
                    name = next(names, None)
                if name is None:
                    return
                with open(os.path.join(folder, name), "rb") as file:
                    ftp.storbinary(f"STOR {name}", file)

    threads = [threading.Thread(target=work) for _ in range(int(connections))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
