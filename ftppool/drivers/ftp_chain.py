"""The strict chain: three round trips a file, with its size proved before it takes its name.

::

    226 of file k               -> SIZE part_k, EPSV in one write
    213, 229; the size is right -> data connect, and at once in one write
                                   RNFR part_k, RNTO name_k, STOR part_k+1
    the connect is up           -> the data, not waiting for 150; close

Replies are matched in order, each to its command. Between STOR and its final reply nothing is ever
sent: early commands lose the file on pyftpdlib and get an error from ProFTPD and Pure-FTPd. What a
data socket says is never the verdict; the reply on the control connection is.
"""

from __future__ import annotations

import contextlib
import ftplib
import os
import socket
import time
from collections import deque
from typing import Protocol

from ftppool.bucket import Bucket
from ftppool.drivers.base import reset
from ftppool.drivers.control import Control, DataSocket
from ftppool.drivers.data import Flow, ready
from ftppool.drivers.ftp_lease import LeasedFTP
from ftppool.drivers.replies import parse_epsv, parse_number, parse_pasv
from ftppool.drivers.steps import NotGrouped, Start, Tail
from ftppool.errors import FTPPoolError, VerifyError
from ftppool.refusals import Phase
from ftppool.words import legible

__all__ = ["NO_SUCH_COMMAND", "SLOWEST_COMMIT", "Chain", "date_command"]

SLOWEST_COMMIT = 1 << 20
"""Bytes per second that a server may take to commit a file before it must have said 226."""
MOST_PRELIMINARY = 20
"""Replies that a transfer is about to go on: RFC 959 knows one."""
NONBLOCKING = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
NO_SUCH_COMMAND = frozenset({"500", "501", "502", "504"})
NO_EPSV = frozenset({"500", "501", "502", "522"})
DATED = ("213", "200", "253", "250")


class _OutOfStep(Exception):
    """A reply that belongs to another command."""


class _Words(Protocol):
    """How the driver says in our errors what went wrong."""

    def rejected(self, path: str, phase: Phase, error: ftplib.Error) -> FTPPoolError: ...
    def lost(self, path: str, phase: Phase, what: str) -> FTPPoolError: ...
    def unwritable(self, path: str) -> FTPPoolError: ...


class Chain:
    """One step of the chain on one session; used once."""

    def __init__(
        self, ftp: LeasedFTP, words: _Words, io_timeout: float, bucket: Bucket | None
    ) -> None:
        self._ftp = ftp
        self._control: Control = ftp._held()
        self._words = words
        self._io_timeout = io_timeout
        self._bucket = bucket
        self._lines: list[str] = []
        self._asked: deque[tuple[str, tuple[str, ...]]] = (
            deque()
        )  # commands without their final reply
        self._replies: dict[str, str] = {}
        self._tail: Tail | None = None
        self._start: Start | None = None
        self._preliminary = 0
        self._last_of_tail = ""  # the command whose reply ends the file before

    def step(self, tail: Tail | None, start: Start | None) -> None:
        """End one file and send the next; see :class:`ftppool.drivers.steps.Chains`."""
        if start is not None and (error := self._unwritable(start)) is not None:
            start.error, start = error, None
        self._tail, self._start = tail, start
        try:
            self._ask_type()
            if tail is not None:
                self._ask_size(tail)
            if start is not None:
                self._ask_port(start)
            self._exchange()
            if tail is not None:
                self._prove(tail)
            port = None if start is None else self._port(start)
            if tail is not None and tail.error is None:
                self._ask_name(tail)
            if start is None or port is None:
                self._exchange()
            else:
                self._store(start, port)
            self._control.heard = time.monotonic()
        except (ftplib.Error, EOFError, OSError, _OutOfStep) as error:
            self._break(error)

    # -- first write: proof of the one, port for the other -----------------------------------------

    def _unwritable(self, start: Start) -> FTPPoolError | None:
        try:
            for name in (start.path, start.final, start.probe or "", *start.directories):
                name.encode(self._ftp.encoding, "surrogateescape")
        except UnicodeEncodeError:
            return self._words.unwritable(start.final)
        return None

    def _ask_type(self) -> None:
        if self._control.type != "I":
            self._ftp._new_type = "I"
            self._ask("TYPE", "TYPE I", "200")

    def _ask_size(self, tail: Tail) -> None:
        if tail.size is not None:
            self._ask("SIZE", f"SIZE {tail.path}", "213")

    def _ask_port(self, start: Start) -> None:
        for directory in start.directories:
            self._ask("MKD", f"MKD {directory}", "257", "250")
        if start.probe is not None:
            self._ask("PROBE", f"SIZE {start.probe}", "213")
        if self._control.known.epsv or self._control.family != socket.AF_INET:
            self._ask("EPSV", "EPSV", "229")
        else:
            self._ask("PASV", "PASV", "227")

    def _prove(self, tail: Tail) -> None:
        if tail.size is None:
            return
        reply = self._replies["SIZE"]
        if reply[:3] in NO_SUCH_COMMAND:
            tail.sizeless = True
        elif reply[:1] != "2":
            tail.error = self._rejected(tail.path, Phase.COMMAND, reply)
        elif reply[3:].strip() != str(tail.size):
            tail.error = VerifyError(
                f"{tail.path}: {tail.size} bytes were sent, the server has {reply[3:].strip()}",
                phase="verify",
            )
        else:
            tail.proved = True

    def _port(self, start: Start) -> tuple[str, int] | None:
        """Where to connect; None if the file is not to be sent now."""
        if start.admit is not None:
            reply = self._replies.get("PROBE", "")
            there = parse_number(reply[3:].strip()) if reply[:3] == "213" else None
            try:
                start.refused = not start.admit(there, reply)
            except Exception as error:  # noqa: BLE001 - it is about this file, whatever it is
                start.error = error
            if start.refused or start.error is not None:
                return None
        if (reply := self._replies.get("TYPE", "200"))[:1] != "2":
            start.error = self._rejected(start.path, Phase.COMMAND, reply)
            return None
        host = self._control.peer[0]
        if (reply := self._replies.get("EPSV", "")) and reply[:3] in NO_EPSV:
            self._control.known.epsv = False
            start.error = NotGrouped("EPSV is not known here")
        elif reply[:3] == "229":
            return host, parse_epsv(reply)
        elif (reply := reply or self._replies["PASV"])[:3] == "227":
            said, port = parse_pasv(reply)
            return said if self._ftp.trust_server_pasv_ipv4_address else host, port
        else:
            start.error = self._rejected(start.path, Phase.TRANSFER, reply)
        return None

    # -- second write: the name of the one, the bytes of the other ---------------------------------

    def _ask_name(self, tail: Tail) -> None:
        dates = self._control.known.dates
        if tail.modified is not None and dates is None:
            tail.error = NotGrouped("nobody knows yet how this server sets times")
            return
        if tail.modified is not None and dates:
            self._ask("DATE", date_command(dates, tail.path, tail.modified), *DATED)
            self._last_of_tail = "DATE"
        tail.undated = tail.modified is not None and not dates
        if tail.final is not None:
            self._ask("RNFR", f"RNFR {tail.path}", "350")
            self._ask("RNTO", f"RNTO {tail.final}", "250", "200")
            self._last_of_tail = "RNTO"
        if not self._last_of_tail:
            self._conclude_tail(tail)  # there is nothing to ask

    def _store(self, start: Start, port: tuple[str, int]) -> None:
        data = self._dial(port)
        try:
            self._ask("STOR", f"STOR {start.path}", "226", "250")
            self._flush()
            broken = self._send(start, data)
            self._read_final(start)
        except (OSError, EOFError, ftplib.Error, _OutOfStep) as error:
            reset(data)
            if not isinstance(error, FTPPoolError):
                raise
            self._give_up(start, error)
        except Exception as error:  # noqa: BLE001 - of the source, or of those who watch
            reset(data)
            self._give_up(start, error)
        except BaseException:
            reset(data)
            raise
        else:
            self._judge(start, broken)

    def _dial(self, port: tuple[str, int]) -> DataSocket:
        """Begin to connect; the SYN leaves before STOR does, and nobody waits for it yet."""
        data = DataSocket(self._control.family, NONBLOCKING)
        try:
            if NONBLOCKING == socket.SOCK_STREAM:
                data.setblocking(False)
            data.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._ftp.source_address is not None:
                data.bind(self._ftp.source_address)
            self._control.data.add(data)  # whoever cuts the session finds it
            data.connect_ex(port)
        except BaseException:
            data.close()
            raise
        return data

    def _send(self, start: Start, data: DataSocket) -> OSError | None:
        """Send the bytes and close; returns what the connection broke of, if it did."""
        if (broken := self._connected(data)) is not None:
            reset(data)
            return broken
        if self._control.known.patient:
            while self._asked and not start.accepted:
                self._read_one()
        stream: socket.socket = data
        if self._control.tls is not None:
            data.settimeout(self._io_timeout)
            try:
                stream = self._ftp._adopt_data(data)
            except OSError as error:
                return error  # what the server has to say of it comes as its final reply
        flow = Flow(
            stream,
            on_bytes=start.on_bytes,
            heard=self._heard,
            stall=self._io_timeout,
            bucket=self._bucket,
        )
        try:
            start.complete = flow.send(start.source, start.path)
        except BaseException:
            reset(stream)
            raise
        finally:
            start.sent = flow.sent
        if start.complete:
            stream.close()
        else:
            reset(stream)
        return flow.broken

    def _connected(self, data: DataSocket) -> OSError | None:
        deadline = time.monotonic() + self._io_timeout
        control = self._control.plain_fd()
        while (left := deadline - time.monotonic()) > 0:
            if data.fileno() in ready(left, writing=data.fileno(), reading=control):
                number = data.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                return OSError(number, os.strerror(number)) if number else None
            if self._heard():
                return ConnectionAbortedError("refused by the server")
        return TimeoutError("the data connection was not made in time")

    def _read_final(self, start: Start) -> None:
        """Read what is left; the last reply may take longer the more was sent."""
        limit = self._io_timeout + start.sent / SLOWEST_COMMIT
        if not start.complete:
            limit = min(limit, self._control.quit_timeout)  # it may wait for a connection for ever
        if self._io_timeout <= limit < self._io_timeout + 1:
            self._read_all()  # a system call saved for each small file
            return
        self._control.sock.settimeout(limit)
        self._read_all()
        self._control.sock.settimeout(self._io_timeout)

    def _judge(self, start: Start, broken: OSError | None) -> None:
        reply = self._replies["STOR"]
        if reply[:1] != "2":
            start.error = self._rejected(start.path, Phase.TRANSFER, reply)
        elif start.complete:
            start.stored = True
            self._control.known.silences = 0
        else:
            what = f"the data connection broke ({broken or 'the server ended it'})"
            start.error = self._words.lost(start.path, Phase.TRANSFER, what)

    def _give_up(self, start: Start, error: Exception) -> None:
        """Read the replies to a transfer that we have broken off, so that we are in step again."""
        start.error = error
        self._control.sock.settimeout(self._control.quit_timeout)
        with contextlib.suppress(ftplib.Error, EOFError, OSError, _OutOfStep):
            self._read_all()
        self._control.sock.settimeout(self._io_timeout)
        tail = self._tail
        if tail is not None and tail.error is None and not tail.ended:
            tail.error = self._words.lost(tail.path, Phase.COMMAND, "no answer")

    # -- commands and replies ----------------------------------------------------------------------

    def _ask(self, key: str, line: str, *good: str) -> None:
        self._lines.append(line)
        self._asked.append((key, good))

    def _flush(self) -> None:
        """Send what was asked in one write."""
        control = self._control
        text = "\r\n".join(self._lines) + "\r\n"
        lines = len(self._lines)
        if text.count("\n") != lines or text.count("\r") != lines or "\0" in text:
            raise ValueError("an illegal newline character should not be contained")
        if control.reader.buffered and not control.outstanding:
            self._ftp._unasked(control)
        data = text.encode(self._ftp.encoding, "surrogateescape")
        control.outstanding += lines
        if self._tail is not None and self._last_of_tail == "RNTO":
            self._tail.renaming = True
        self._lines.clear()
        control.sock.sendall(data)

    def _exchange(self) -> None:
        if self._lines:
            self._flush()
            self._read_all()

    def _read_all(self) -> None:
        while self._asked:
            self._read_one()

    def _heard(self) -> bool:
        """Read the replies that are there; True if the transfer has its verdict already."""
        while self._asked and self._control.speaks():
            self._read_one()
        return not self._asked

    def _read_one(self) -> None:
        """Read one reply and match it to the oldest command without one."""
        control = self._control
        reply = control.reader.reply()
        self._ftp._note_reply(control, reply)
        key, good = self._asked[0]
        code = reply[:3]
        if code[:1] == "1" and key == "STOR":
            if self._start is not None:
                self._start.accepted = True
            self._preliminary += 1
            if self._preliminary > MOST_PRELIMINARY:
                raise _OutOfStep(f"{legible(reply)!r} again and again")
            return
        if code == "421":
            raise ftplib.error_temp(reply)
        if code not in good and code[0] not in "45":
            raise _OutOfStep(f"{legible(reply)!r} is no answer to {key}")
        self._asked.popleft()
        self._replies[key] = reply
        if key == self._last_of_tail and self._tail is not None:
            self._conclude_tail(self._tail)

    # -- what came of it ---------------------------------------------------------------------------

    def _conclude_tail(self, tail: Tail) -> None:
        if "DATE" in self._replies and self._replies["DATE"][:1] != "2":
            tail.undated = True
        if tail.final is not None:
            for reply in (self._replies["RNFR"], self._replies["RNTO"]):
                if reply[:1] not in {"2", "3"}:
                    tail.error = self._rejected(tail.final, Phase.COMMAND, reply)
                    return
        tail.ended = True
        tail.on_end()

    def _break(self, error: Exception) -> None:
        """The session is of no use any more; say so of what was not done."""
        self._control.tainted = True
        tail, start = self._tail, self._start
        failure: Exception
        if isinstance(error, _OutOfStep) or self._lost_in_a_group(error):
            self._control.known.grouping = False
            failure = NotGrouped(str(error))
        else:
            path = tail.path if tail is not None else start.path if start is not None else ""
            failure = self._failure(path, error)
        for part in (tail, start):
            if part is None or part.error is not None:
                continue
            if not (part.ended if isinstance(part, Tail) else part.stored):
                part.error = failure

    def _lost_in_a_group(self, error: Exception) -> bool:
        """True if the server is silent because it does not take what was sent together."""
        if not isinstance(error, TimeoutError):
            return False
        if len(self._asked) > 1 or self._start is None or not self._start.accepted:
            return True
        self._control.known.silences += 1  # a final reply may be late or lost, but not all of them
        return self._control.known.silences > 1

    def _failure(self, path: str, error: Exception) -> FTPPoolError:
        phase = Phase.TRANSFER
        if isinstance(error, ftplib.Error):
            return self._words.rejected(path, phase, error)
        if isinstance(error, TimeoutError):
            limit = self._control.sock.gettimeout() or self._io_timeout
            return self._words.lost(path, phase, f"no answer for {limit:.3g} s")
        if isinstance(error, EOFError):
            return self._words.lost(path, phase, "the server closed the connection")
        return self._words.lost(path, phase, str(error))

    def _rejected(self, path: str, phase: Phase, reply: str) -> FTPPoolError:
        kind = ftplib.error_temp if reply[:1] == "4" else ftplib.error_perm
        return self._words.rejected(path, phase, kind(reply))


def date_command(pattern: str, path: str, modified: float) -> str:
    """Fill in the command that sets a file's time."""
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(modified))
    return pattern.format(path=path, stamp=stamp)
