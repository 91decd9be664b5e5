"""ftppool with its defaults: part name, size check and rename for each file."""

from __future__ import annotations

import os
import sys

from ftppool import upload_batch


def main() -> None:
    host, port, user, password, folder, connections, ssh = sys.argv[1:]
    inputs, number = [folder + "/"], int(connections)
    if ssh:
        from ftppool import SSHConfig

        report = upload_batch(
            inputs,
            f"sftp://{user}@{host}:{port}/~/",
            max_per_ip=number,
            ssh=SSHConfig(
                known_hosts=os.path.join(ssh, "known_hosts"),
                keys=os.path.join(ssh, "id_ed25519"),
                config_file=None,
            ),
        )
    else:
        url = f"ftp://{user}:{password}@{host}:{port}"
        journal = os.environ.get("BENCH_JOURNAL")
        report = upload_batch(inputs, url, max_per_ip=number, journal=journal)
    assert all(outcome.verified for outcome in report.outcomes)
