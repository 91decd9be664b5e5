"""What several commands say in their ``--help``."""

from __future__ import annotations

__all__ = ["EXITS", "PASSWORDS"]

PASSWORDS = """\
password:
  The one of these that is closest to you counts: the URL, a flag above, the
  environment, a profile. In the environment it is FTPPOOL_PASSWORD; or one of
  the twins of the flags above, as in FTPPOOL_PASSWORD_FILE=FILE. Without any,
  FTP asks on the terminal, and without a terminal it ends with 78. What is on a
  command line every user of the machine can read in the list of processes, and
  the shell keeps it in its history: do not write it into the URL.

settings:
  --max-per-ip is FTPPOOL_MAX_PER_IP in the environment and max_per_ip in a
  profile ([profiles.NAME] in the file that 'ftppool config path' prints); so it
  is for every flag. A flag goes before the environment, and that before a
  profile.
  'ftppool config show DEST' shows each setting and where it comes from.
"""

EXITS = """\
exit codes:
  0    everything is there
  1    something failed for good
  2    the command line is wrong
  9    there was no file at all (with --error-on-empty)
  10   the deadline was reached
  70   a bug in ftppool
  75   only passing failures, or another run has the lock or the journal: run
       it again
  77   the login was refused, or the certificate or host key is not trusted
  78   a setting is wrong, the URL's scheme is not what the server speaks, or
       the journal cannot be written
  130  Ctrl-C, 143 SIGTERM, 129 SIGHUP: the sessions were ended first
  Of several failures the one counts that comes first in 77, 78, 1, 10, 75.
"""
