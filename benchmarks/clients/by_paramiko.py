"""paramiko by hand: one SSH connection a thread."""

from __future__ import annotations

import os
import sys
import threading

import paramiko

from benchmarks.clients.tree import walk


def main() -> None:
    host, port, user, _, folder, connections, ssh = sys.argv[1:]
    directories, files = walk(folder)

    def connect() -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        client.load_host_keys(os.path.join(ssh, "known_hosts"))
        client.connect(
            host,
            int(port),
            user,
            key_filename=os.path.join(ssh, "id_ed25519"),
            allow_agent=False,
            look_for_keys=False,
        )
        return client

    if directories:
        with connect() as client, client.open_sftp() as sftp:
            for directory in directories:
                sftp.mkdir(directory)
    names, lock = iter(files), threading.Lock()

    def work() -> None:
        with connect() as client, client.open_sftp() as sftp:
            while True:
                with lock:
                    name = next(names, None)
                if name is None:
                    return
                sftp.put(os.path.join(folder, name), name)

    threads = [threading.Thread(target=work) for _ in range(int(connections))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
