"""What `pool.ftp()` lends is a real ftplib.FTP, and one borrower never harms the next."""

from __future__ import annotations

import ftplib
import gc
import io
import re
import socket
import threading
from pathlib import Path

import pytest

from ftppool import ConfigError, FTPConfig, FTPPool, LeaseReturned
from tests.conftest import Start
from tests.support.servers import Server


def test_raw_ftplib_calls_work_unchanged(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=1) as pool, pool.ftp() as ftp:
        assert isinstance(ftp, ftplib.FTP)
        assert ftp.getwelcome().startswith("220")
        assert ftp.storbinary("STOR a.bin", io.BytesIO(b"\x00\xff" * 5000)).startswith("226")
        received: list[bytes] = []
        assert ftp.retrbinary("RETR a.bin", received.append).startswith("226")
        assert b"".join(received) == b"\x00\xff" * 5000
        assert ftp.mkd("sub").endswith("sub")
        ftp.cwd("sub")
        assert ftp.pwd().endswith("/sub")
        ftp.storlines("STOR lines.txt", io.BytesIO(b"one\ntwo\n"))
        ftp.cwd("..")
        assert "a.bin" in ftp.nlst()
        listing: list[str] = []
        ftp.dir(listing.append)
        assert any("a.bin" in line for line in listing)
        ftp.rename("a.bin", "b.bin")
        ftp.voidcmd("TYPE I")
        assert ftp.size("b.bin") == 10_000
        assert ftp.sendcmd("NOOP")[0] == "2"
        with pytest.raises(ftplib.error_perm) as refused:
            ftp.delete("not there")
        assert str(refused.value)[:3] == "550"
        ftp.delete("b.bin")
        if server.kind != "vsftpd":
            assert "sub" in dict(ftp.mlsd())


def test_what_is_lent_shows_where_it_is_and_no_password(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=1) as pool:
        with pool.ftp() as ftp:
            name = "LeasedFTPTLS" if server.scheme == "ftps" else "LeasedFTP"
            assert repr(ftp) == f"<{name} {server.user}@{server.host}:{server.port}>"
        assert repr(ftp) == f"<{name}: given back>"
        where = f"<Session {server.scheme}://{server.user}@{server.host}:{server.port}"
        with pool.session() as session:
            assert repr(session) == f"{where}>"
            session.makedirs("sub")
            session.chdir("sub")
            assert repr(session) == f"{where} in 'sub'>"
        assert repr(session) == f"{where} in 'sub', given back>"
        with pool.acquire() as lease:
            assert re.fullmatch(
                r"<Lease: MainThread for \d\.\d s \(test_lease\.py:.*\)>", repr(lease)
            )
        assert repr(lease) == "<Lease: given back>"


def test_the_next_borrower_finds_directory_and_type_as_after_login(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=1) as pool:
        with pool.ftp() as ftp:
            home = ftp.pwd()
            ftp.mkd("elsewhere")
            ftp.cwd("elsewhere")
            ftp.voidcmd("TYPE I")
        with pool.ftp() as ftp:
            assert ftp.pwd() == home
            # As after login: ASCII, in which SIZE is refused or counts otherwise.
            with ftp.transfercmd("STOR text") as data:
                data.sendall(b"a\r\nb\r\n")
            ftp.voidresp()
        stats = pool.stats()
    assert stats.opened == 1
    if server.kind == "pyftpdlib":  # the one that translates
        assert (server.home / "text").read_bytes() == b"a\nb\n"


def test_a_lease_costs_no_command_where_nothing_was_changed(start: Start, tmp_path: Path) -> None:
    server = start("pyftpdlib")
    with FTPPool(server.url, max_per_ip=1) as pool:
        for number in range(3):
            with pool.ftp() as ftp:
                ftp.storbinary(f"STOR {number}", io.BytesIO(b"x"))
        assert pool.stats().reused == 2


def test_after_the_lease_every_command_raises(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=1) as pool:
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        for call in (
            ftp.pwd,
            lambda: ftp.storbinary("STOR x", io.BytesIO()),
            lambda: list(ftp.mlsd()),
            ftp.getresp,
            ftp.quit,
            lambda: ftp.login("a", "b"),
        ):
            with pytest.raises(LeaseReturned):
                call()
        ftp.close()  # harmless at any time
        with pool.ftp() as other:
            other.voidcmd("NOOP")
        assert pool.stats().opened == 1
    assert not (server.home / "x").exists()


def test_a_session_that_saw_an_exception_is_not_lent_again(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=1) as pool:
        with pytest.raises(ZeroDivisionError), pool.ftp():
            _ = 1 / 0
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        assert pool.stats().opened == 2
        assert pool.stats().quits == 1
    assert server.wait_idle().quits == 2


def test_a_callback_that_raises_leaves_no_reply_for_the_next(server: Server) -> None:
    (server.home / "big").write_bytes(b"x" * 500_000)
    (server.home / "big").chmod(0o644)
    with FTPPool(server.url, max_per_ip=1) as pool:

        def fail(_block: bytes) -> None:
            raise ZeroDivisionError

        with pool.ftp() as ftp, pytest.raises(ZeroDivisionError):
            ftp.retrbinary("RETR big", fail)
            # swallowed by the script: the lease itself ends without an exception
        with pool.ftp() as ftp:
            assert ftp.pwd().startswith("/")
        assert pool.stats().opened == 2


def test_an_unread_reply_or_an_open_data_socket_ends_the_session(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=1) as pool:
        with pool.ftp() as ftp:
            ftp.putcmd("NOOP")
        with pool.ftp() as ftp:
            assert ftp.pwd().startswith("/")
        data: list[socket.socket] = []
        with pool.ftp() as ftp:
            data.append(ftp.transfercmd("STOR half"))
            data[0].sendall(b"x")
        with pool.ftp() as ftp:
            assert ftp.pwd().startswith("/")
        assert data[0].fileno() == -1
        assert pool.stats().opened == 3


def test_a_command_that_cannot_be_undone_ends_the_session(start: Start) -> None:
    server = start("pyftpdlib")
    with FTPPool(server.url, max_per_ip=1) as pool:
        with pool.ftp() as ftp:
            ftp.sendcmd("OPTS UTF8 ON")
        with pool.ftp() as ftp:
            ftp.sendcmd("REIN")
        with pool.ftp() as ftp:
            ftp.voidcmd("TYPE I")
            ftp.sendcmd("REST 100")
        with pool.ftp() as ftp:
            ftp.sendcmd("NOOP")
        assert pool.stats().opened == 4


def test_quit_and_close_by_the_script_are_harmless(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=1) as pool:
        with pool.ftp() as ftp:
            assert ftp.quit().startswith("221")
            ftp.close()
            with pytest.raises(LeaseReturned):
                ftp.pwd()
        with pool.ftp() as ftp:
            ftp.close()
        with pool.ftp() as ftp, ftp:
            ftp.voidcmd("NOOP")
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        stats = pool.stats()
        assert stats.opened == 4
        assert stats.quits == 3
    census = server.wait_idle()
    assert census.quits == census.sessions == 4


def test_connect_and_login_again_return_the_server_s_words(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=1) as pool, pool.ftp() as ftp:
        assert ftp.connect(server.host).startswith("220")
        assert ftp.login(server.user, "whatever").startswith("230")
        with pytest.raises(ConfigError, match="another pool"):
            ftp.connect("elsewhere.example")
        with pytest.raises(ConfigError, match="another pool"):
            ftp.login("somebody-else", "x")
        ftp.voidcmd("NOOP")


def test_a_user_s_own_subclass_is_lent(server: Server) -> None:
    class Mine(ftplib.FTP):
        def hello(self) -> str:
            return self.pwd()

    with FTPPool(server.url, ftp=FTPConfig(ftp_class=Mine)) as pool, pool.ftp() as ftp:
        assert isinstance(ftp, Mine)
        assert ftp.hello().startswith("/")


def test_a_broken_upload_is_reset_so_that_the_server_notices(server: Server) -> None:
    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 20_000:
                raise OSError("disk gone")
            return super().read(size)

    with FTPPool(server.url, max_per_ip=1) as pool:
        with pytest.raises(OSError, match="disk gone"), pool.ftp() as ftp:
            ftp.storbinary("STOR part", Breaks(b"x" * 100_000))
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
    assert (server.home / "part").stat().st_size < 100_000


@pytest.mark.parametrize("kind", ["vsftpd", "vsftpd+tls"])
def test_half_a_file_whose_error_is_forgotten_at_once_is_reset_too(start: Start, kind: str) -> None:
    server = start(kind)

    def break_off(pool: FTPPool) -> None:
        with pool.ftp() as ftp:
            data = ftp.transfercmd("STOR half")
            data.sendall(b"x")
            raise ZeroDivisionError

    # A data connection that ends with its last reference says FIN, and warns: that fails the test.
    with FTPPool(server.url, max_per_ip=1) as pool:
        for _ in range(10):
            with pytest.raises(ZeroDivisionError) as caught:
                break_off(pool)
            caught.value.__traceback__ = None
            del caught
        with pool.ftp() as ftp:
            assert ftp.nlst() in (["half"], [])


@pytest.mark.filterwarnings("ignore::ftppool.LeakWarning")
def test_a_lease_that_is_lost_comes_back(server: Server) -> None:
    with FTPPool(server.url, max_per_ip=1, acquire_timeout=5) as pool:
        lease = pool.acquire()
        assert pool.stats().leased == 1
        del lease
        gc.collect()
        with pool.ftp() as ftp:
            ftp.voidcmd("NOOP")
        assert pool.stats().opened == 2


def test_a_cut_that_comes_after_the_lease_does_nothing_to_the_next_borrower(
    server: Server,
) -> None:
    with FTPPool(server.url, max_per_ip=1) as pool:
        first = pool.acquire()
        first.release()
        with pool.acquire() as second:
            first.cut()
            assert second.usable()
            assert second.loan.pwd()
        assert pool.stats().opened == 1


def test_leases_are_handed_out_in_order(start: Start) -> None:
    server = start("pyftpdlib", max_per_ip=1)
    order: list[int] = []
    with FTPPool(server.url, max_per_ip=1) as pool:
        lease = pool.acquire()
        threads = []
        for number in range(6):

            def borrow(number: int = number) -> None:
                with pool.acquire():
                    order.append(number)

            thread = threading.Thread(target=borrow)
            threads.append(thread)
            thread.start()
            while pool.stats().waiting != number + 1:
                pass
        lease.release()
        for thread in threads:
            thread.join()
    assert order == list(range(6))
