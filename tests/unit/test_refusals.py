"""The refusal table against the words of real servers (research: servers.md 1, 2, 4, 6, 7, 8)."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, strategies as st

from ftppool import refusals
from ftppool.errors import ConfigError
from ftppool.refusals import (
    RULES,
    Kind,
    Phase,
    Reply,
    Scope,
    Verdict,
    check_patterns,
    classify,
    named_limit,
)

CONNECT, SSH_BANNER, GREETING = Phase.CONNECT, Phase.SSH_BANNER, Phase.GREETING
LOGIN, CHANNEL, IDLE = Phase.LOGIN, Phase.CHANNEL, Phase.IDLE
TRANSFER, COMMAND = Phase.TRANSFER, Phase.COMMAND
BUSY, STALE, AUTH, BANNED = Kind.BUSY, Kind.STALE, Kind.AUTH, Kind.BANNED
TRANSIENT, PERMANENT = Kind.TRANSIENT, Kind.PERMANENT
ADDRESS, USER, SERVER, CONNECTION = Scope.ADDRESS, Scope.USER, Scope.SERVER, Scope.CONNECTION
NEW, KNOWN = False, True  # have these credentials worked before?


class Case(NamedTuple):
    """One reply of a real server and what it means."""

    server: str
    phase: Phase
    code: int | None
    text: str
    live: int
    worked: bool
    kind: Kind
    scope: Scope
    limit: int | None
    rule: str

    def verdict(self, text: str | None = None) -> Verdict:
        """Classify it, or another spelling of it."""
        reply = Reply(self.phase, self.code, self.text if text is None else text)
        return classify(reply, live=self.live, worked_before=self.worked)


def case(*values: object) -> Case:
    """Make a case from its ten values."""
    return Case(*values)  # type: ignore[arg-type]  # a row of the table


# fmt: off
CONNECTING = [
    case("iptables connlimit REJECT", CONNECT, None, "[Errno 111] Connection refused",
         2, KNOWN, BUSY, ADDRESS, None, "connect-refused"),
    case("nft ct count drop", CONNECT, None, "timed out",
         1, KNOWN, BUSY, ADDRESS, None, "connect-refused"),
    case("firewalld reject", CONNECT, None, "[Errno 113] No route to host",
         1, NEW, BUSY, ADDRESS, None, "connect-refused"),
    case("nobody listens", CONNECT, None, "[Errno 111] Connection refused",
         0, NEW, TRANSIENT, SERVER, None, "connect-failed"),
    case("our own cable", CONNECT, None, "[Errno 101] Network is unreachable",
         2, KNOWN, TRANSIENT, SERVER, None, "network-down"),
    case("dash without nc", CONNECT, None,
         "the ProxyCommand ended with status 127: a command in it was not found; mend it",
         2, KNOWN, PERMANENT, SERVER, None, "proxy-broken"),
    case("ssh -W through a gate that is down", CONNECT, None,
         "the ProxyCommand ended with status 255; what it writes to stderr says why",
         2, KNOWN, TRANSIENT, SERVER, None, "proxy-failed"),
]
GREETED = [
    case("vsftpd max_per_ip", GREETING, 421,
         "421 There are too many connections from your internet address.",
         2, KNOWN, BUSY, ADDRESS, None, "address-full"),
    case("vsftpd max_per_ip, somebody else's connections", GREETING, 421,
         "421 There are too many connections from your internet address.",
         0, NEW, BUSY, ADDRESS, None, "address-full"),
    case("vsftpd max_clients", GREETING, 421,
         "421 There are too many connected users, please try later.",
         2, KNOWN, BUSY, SERVER, None, "server-full"),
    case("vsftpd tcp_wrappers", GREETING, 421, "421 Service not available.",
         0, NEW, BUSY, ADDRESS, None, "greeting-421-alone"),
    case("RFC 959's own sentence is no time-out", GREETING, 421,
         "421 Service not available, closing control connection.",
         1, NEW, BUSY, ADDRESS, None, "greeting-421"),
    case("ProFTPD MaxInstances", GREETING, None, "",
         3, KNOWN, BUSY, ADDRESS, None, "silent-close"),
    case("ProFTPD mod_ban, the hit that triggers it", GREETING, None, "",
         0, NEW, BUSY, ADDRESS, None, "silent-close-alone"),
    case("reset under load", GREETING, None, "[Errno 104] Connection reset by peer",
         1, KNOWN, BUSY, ADDRESS, None, "silent-close"),
    case("ProFTPD MaxConnectionsPerHost, All-Inkl", GREETING, 530,
         "530 Sorry, the maximum number of connections (10) for your host are already connected.",
         4, KNOWN, BUSY, ADDRESS, 10, "address-full"),
    case("ProFTPD MaxConnectionsPerHost, the administrator's text", GREETING, 530,
         "530 Bitte nicht so viele auf einmal", 2, KNOWN, BUSY, ADDRESS, None, "greeting-530"),
    case("ProFTPD mod_ban with a message that names no ban", GREETING, 530, "530 Go away",
         0, NEW, BUSY, ADDRESS, None, "greeting-530-alone"),
    case("ProFTPD mod_ban", GREETING, 530, "530 you are banned for a while",
         1, KNOWN, BANNED, SERVER, None, "banned"),
    case("ProFTPD mod_ban, the manual's message", GREETING, 530,
         "530 Host 192.0.2.7 has been banned", 0, NEW, BANNED, SERVER, None, "banned"),
    case("ProFTPD shutdown", GREETING, 500,
         "500 FTP server shut down (Mon Dec 11 17:44:05 2006) -- please try again later",
         1, KNOWN, BUSY, SERVER, None, "come-back-later"),
    case("ProFTPD without a virtual host", GREETING, 500,
         "500 Sorry, no server available to handle request on 192.0.2.7",
         1, KNOWN, PERMANENT, SERVER, None, "not-welcome"),
    case("Pure-FTPd -c", GREETING, 421, "421 50 users (the maximum) are already logged in, sorry",
         2, KNOWN, BUSY, SERVER, None, "server-full"),
    case("Pure-FTPd -C, cPanel", GREETING, 421, "421 Too many connections (8) from this IP",
         3, KNOWN, BUSY, ADDRESS, 8, "address-full"),
    case("Pure-FTPd -C in French", GREETING, 421, "421 Trop de connexions (8) depuis cette IP",
         3, KNOWN, BUSY, ADDRESS, 8, "greeting-421"),
    case("pyftpdlib max_cons", GREETING, 421,
         "421 Too many connections. Service temporarily unavailable.",
         2, KNOWN, BUSY, SERVER, None, "server-full"),
    case("pyftpdlib max_cons_per_ip", GREETING, 421,
         "421 Too many connections from the same IP address.",
         2, KNOWN, BUSY, ADDRESS, None, "address-full"),
    case("FileZilla 0.9 IP filter", GREETING, 550, "550 No connections allowed from your IP",
         1, KNOWN, PERMANENT, SERVER, None, "not-welcome"),
    case("FileZilla 0.9 locked", GREETING, 421, "421 Server is locked, please try again later.",
         1, KNOWN, BUSY, SERVER, None, "come-back-later"),
    case("FileZilla 1.x, banned", GREETING, None, "", 0, KNOWN, BUSY, ADDRESS, None,
         "silent-close-alone"),
    case("SFTPGo max_per_host_connections", GREETING, 500, "500 Access denied",
         2, KNOWN, BUSY, ADDRESS, None, "access-denied-at-limit"),
    case("SFTPGo, not welcome", GREETING, 500, "500 Access denied",
         0, NEW, PERMANENT, SERVER, None, "not-welcome"),
    case("SFTPGo defender", GREETING, 500, "500 Access denied: banned client IP",
         2, KNOWN, BANNED, SERVER, None, "banned"),
    case("SFTPGo rate limit", GREETING, 500, "500 Access denied: rate limit exceed, wait time to"
         " respect rate 1.2s, max wait time allowed 1s",
         2, KNOWN, BUSY, SERVER, None, "come-back-later"),
    case("IIS maxClientsMessage", GREETING, 421, "421 Maximum number of clients reached",
         1, KNOWN, BUSY, ADDRESS, None, "greeting-limit"),
    case("NASA's FTP", GREETING, 421, "421 Maximum number of connections exceeded (500)",
         1, KNOWN, BUSY, ADDRESS, 500, "greeting-limit"),
    case("a server with its own login counter", GREETING, 421,
         "421 Too many failed login attempts. Try again later.",
         0, NEW, BANNED, SERVER, None, "banned-for-failures"),
    case("OpenSSH on that port", GREETING, None, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10",
         0, NEW, PERMANENT, SERVER, None, "ssh-not-ftp"),
    case("a web server on that port", GREETING, None, "HTTP/1.1 400 Bad Request",
         0, NEW, PERMANENT, SERVER, None, "not-ftp"),
    case("vsftpd, its configuration", GREETING, 500,
         "500 OOPS: bad bool value in config file for: listen",
         0, NEW, PERMANENT, SERVER, None, "broken-setup"),
    case("vsftpd out of processes", GREETING, 500, "500 OOPS: fork",
         0, NEW, STALE, SERVER, None, "vsftpd-died"),
    case("ProFTPD TimeoutLogin", GREETING, 421,
         "421 Login timeout (3 seconds): closing control connection",
         1, KNOWN, STALE, SERVER, None, "login-timeout"),
]
LIMITS_AT_LOGIN = [
    case("ProFTPD MaxClients", LOGIN, 530,
         "530 Sorry, the maximum number of allowed clients (30) are already connected.",
         2, KNOWN, BUSY, SERVER, None, "server-full"),
    case("ProFTPD MaxClientsPerClass", LOGIN, 530,
         "530 Sorry, the maximum number of clients (5) from your class are already connected.",
         2, KNOWN, BUSY, SERVER, None, "server-full"),
    case("ProFTPD MaxClientsPerHost", LOGIN, 530,
         "530 Sorry, the maximum number of clients (1) from your host are already connected.",
         1, KNOWN, BUSY, ADDRESS, 1, "address-full"),
    case("ProFTPD MaxClientsPerUser, Plesk", LOGIN, 530,
         "530 Sorry, the maximum number of clients (3) for this user are already connected.",
         2, NEW, BUSY, USER, 3, "user-full"),
    case("ProFTPD MaxHostsPerUser: the number counts hosts", LOGIN, 530,
         "530 Sorry, the maximum number of hosts (1) for this user are already connected.",
         0, NEW, BUSY, SERVER, None, "hosts-per-user"),
    case("ProFTPD MaxClientsPerUser, the administrator's text", LOGIN, 530, "530 Zu viele!",
         2, KNOWN, BUSY, USER, None, "530-but-worked"),
    case("Pure-FTPd -y, OVH, aioftp#128", LOGIN, 421,
         "421 I can't accept more than 2 connections as the same user",
         1, KNOWN, BUSY, USER, 2, "user-full"),
    case("Pure-FTPd -y with a typographer's apostrophe", LOGIN, 421,
         "421 I can\u2019t accept more than 2 connections as the same user",
         0, NEW, BUSY, USER, 2, "user-full"),
    case("Pure-FTPd -y in French", LOGIN, 421,
         "421 Je ne peux pas accepter plus de 3 connexions du meme utilisateur",
         2, KNOWN, BUSY, USER, None, "login-421"),
    case("Pure-FTPd -y in French, nobody of ours", LOGIN, 421,
         "421 Je ne peux pas accepter plus de 3 connexions du meme utilisateur",
         0, NEW, BUSY, USER, None, "login-421-alone"),
    case("FileZilla 1.x", LOGIN, 421, "421 Too many active connections, try again later",
         1, KNOWN, BUSY, USER, None, "login-limit"),
    case("FileZilla 0.9 server", LOGIN, 421,
         "421 Too many users are connected, please try again later.",
         1, KNOWN, BUSY, SERVER, None, "server-full"),
    case("FileZilla 0.9 account", LOGIN, 421,
         "421 Too many users logged in for this account. Try again later.",
         1, KNOWN, BUSY, USER, None, "user-full"),
    case("FileZilla 0.9 IP", LOGIN, 421,
         "421 Refusing connection. No more connections allowed from your IP.",
         1, KNOWN, BUSY, ADDRESS, None, "address-full"),
    case("FileZilla 0.9 user", LOGIN, 421,
         "421 Refusing connection. Maximum connection count reached for the user 'banned'",
         1, KNOWN, BUSY, USER, None, "user-full"),
    case("FileZilla 0.9 load", LOGIN, 421,
         "421 Server too busy, closing connection. Please retry later!",
         1, KNOWN, BUSY, SERVER, None, "server-full"),
    case("FileZilla 0.9 ban", LOGIN, 421,
         "421 Temporarily banned for too many failed login attempts",
         1, KNOWN, BANNED, SERVER, None, "banned"),
    case("SFTPGo max_sessions", LOGIN, 530, "530 Authentication error: too many open sessions: 3",
         2, NEW, BUSY, USER, 3, "user-full"),
    case("browsr#26", LOGIN, 530, "530 Sorry, you have exceeded the number of connections.",
         1, KNOWN, BUSY, USER, None, "login-limit"),
    case("wu-ftpd class limit", LOGIN, 530,
         "530-Sorry, there are too many anonymous FTP users using the system at this\n"
         "530-time. There is currently a limit of 10.\n530 User anonymous access denied.",
         0, NEW, BUSY, SERVER, None, "server-full"),
    case("wu-ftpd, both in one reply", LOGIN, 530,
         "530-There are too many users (20) now.\r\n530 Login incorrect.",
         0, NEW, BUSY, SERVER, None, "limit-or-password"),
    case("wu-ftpd, no words at all", LOGIN, 530, "530 User jo access denied.",
         1, KNOWN, BUSY, USER, None, "530-but-worked"),
    case("mod_sftp MaxConnectionsPerHost", LOGIN, None,
         "Maximum connections for host/user reached",
         1, KNOWN, BUSY, ADDRESS, None, "address-full"),
    case("mod_sftp MaxConnectionsPerHost, bare EOFError", LOGIN, None, "",
         1, KNOWN, BUSY, ADDRESS, None, "silent-close"),
    case("mod_sftp MaxClients", LOGIN, None,
         "Authentication failed: transport shut down or saw EOF",
         1, KNOWN, BUSY, USER, None, "wrong-login-but-worked"),
    case("SFTPGo SFTP max_sessions", LOGIN, None, "Authentication failed.",
         1, KNOWN, BUSY, USER, None, "wrong-login-but-worked"),
]
LOGINS = [
    case("vsftpd", LOGIN, 530, "530 Login incorrect.", 0, NEW, AUTH, SERVER, None, "wrong-login"),
    case("ProFTPD, PAM limits after a good login", LOGIN, 530, "530 Login incorrect.",
         1, KNOWN, BUSY, USER, None, "wrong-login-but-worked"),
    case("ProFTPD, 501", LOGIN, 501, "501 Login incorrect.",
         1, NEW, AUTH, SERVER, None, "wrong-login"),
    case("Pure-FTPd", LOGIN, 530, "530 Login authentication failed",
         1, NEW, AUTH, SERVER, None, "wrong-login"),
    case("pyftpdlib", LOGIN, 530, "530 Authentication failed. Disconnecting.",
         1, NEW, AUTH, SERVER, None, "wrong-login"),
    case("FileZilla 0.9", LOGIN, 530, "530 Login or password incorrect!",
         1, NEW, AUTH, SERVER, None, "wrong-login"),
    case("FileZilla 0.9, disabled", LOGIN, 530,
         "530 Not logged in, user account has been disabled",
         1, KNOWN, AUTH, SERVER, None, "account-disabled"),
    case("vsftpd userlist", LOGIN, 530, "530 Permission denied.",
         0, NEW, AUTH, SERVER, None, "login-530"),
    case("Pure-FTPd, no anonymous", LOGIN, 530,
         "530 This is a private system - No anonymous login",
         0, NEW, AUTH, SERVER, None, "wrong-login"),
    case("IIS, a user called max", LOGIN, 530, "530 User max cannot log in.",
         0, NEW, AUTH, SERVER, None, "login-530"),
    case("IIS, a user called banned", LOGIN, 530, "530 User banned cannot log in.",
         0, NEW, AUTH, SERVER, None, "login-530"),
    case("Pure-FTPd, a second USER", LOGIN, 530, "530 You're already logged in",
         1, NEW, AUTH, SERVER, None, "login-530"),
    case("ProFTPD, a second USER", LOGIN, 503, "503 You are already logged in",
         1, KNOWN, PERMANENT, SERVER, None, "not-welcome"),
    case("a server that counts bad logins", LOGIN, 421,
         "421 Too many failed login attempts. Connection closed.",
         1, KNOWN, AUTH, SERVER, None, "too-many-failures"),
    case("OpenSSH MaxAuthTries", LOGIN, None, "Too many authentication failures",
         1, KNOWN, AUTH, SERVER, None, "too-many-failures"),
    case("OpenSSH, wrong key", LOGIN, None, "Authentication failed.",
         0, NEW, AUTH, SERVER, None, "wrong-login"),
    case("OpenSSH, method not offered", LOGIN, None,
         "Bad authentication type; allowed types: ['publickey']",
         0, NEW, AUTH, SERVER, None, "wrong-login"),
    case("FileZilla, too slow", LOGIN, 421,
         "421 Login time exceeded. Closing control connection.",
         1, KNOWN, STALE, SERVER, None, "login-timeout"),
    case("vsftpd, too slow", LOGIN, 421, "421 Timeout.", 1, NEW, STALE, SERVER, None,
         "login-timeout"),
    case("Pure-FTPd, too slow", LOGIN, 421,
         "421 Timeout - try typing a little faster next time",
         1, NEW, STALE, SERVER, None, "login-timeout"),
    case("Pure-FTPd needs TLS", LOGIN, 421,
         "421-Sorry, cleartext sessions and weak ciphers are not accepted on this server.\r\n"
         "421 Please reconnect using TLS security mechanisms.",
         2, KNOWN, PERMANENT, SERVER, None, "tls-required"),
    case("vsftpd needs TLS", LOGIN, 530, "530 Non-anonymous sessions must use encryption.",
         0, NEW, PERMANENT, SERVER, None, "tls-required"),
    case("ProFTPD, pyftpdlib need TLS", LOGIN, 550, "550 SSL/TLS required on the control channel.",
         0, NEW, PERMANENT, SERVER, None, "tls-required"),
    case("FileZilla 0.9 needs TLS", LOGIN, 530,
         "530 Have to use explicit SSL/TLS before logging on.",
         0, NEW, PERMANENT, SERVER, None, "tls-required"),
    case("FileZilla 1.x needs TLS", LOGIN, 503, "503 Use AUTH first.",
         0, NEW, PERMANENT, SERVER, None, "tls-required"),
    case("SFTPGo needs TLS", LOGIN, 421, "421 TLS is required",
         1, KNOWN, PERMANENT, SERVER, None, "tls-required"),
    case("IIS needs TLS", LOGIN, 534, "534 Policy requires SSL.",
         0, NEW, PERMANENT, SERVER, None, "tls-required"),
    case("vsftpd without TLS, at AUTH", LOGIN, 530, "530 Please login with USER and PASS.",
         0, NEW, PERMANENT, SERVER, None, "no-tls"),
    case("ProFTPD, at AUTH", LOGIN, 431, "431 Necessary security resource unavailable",
         0, NEW, TRANSIENT, SERVER, None, "opening-4xx"),
    case("ProFTPD, TLS", LOGIN, 421, "421 TLS handshake failed",
         1, NEW, PERMANENT, SERVER, None, "broken-setup"),
    case("Pure-FTPd, uid", LOGIN, 421, "421 Sorry, but I can't trust you",
         1, NEW, PERMANENT, SERVER, None, "broken-setup"),
    case("Pure-FTPd, home", LOGIN, 421, "421 Home directory not available - aborting",
         1, NEW, PERMANENT, SERVER, None, "broken-setup"),
    case("vsftpd, chroot", LOGIN, 500,
         "500 OOPS: vsftpd: refusing to run with writable root inside chroot()",
         0, NEW, PERMANENT, SERVER, None, "broken-setup"),
    case("vsftpd, home", LOGIN, 500, "500 OOPS: cannot change directory:/home/tails",
         0, NEW, PERMANENT, SERVER, None, "broken-setup"),
    case("vsftpd, child died", LOGIN, 500, "500 OOPS: child died",
         1, KNOWN, STALE, SERVER, None, "vsftpd-died"),
    case("FileZilla 0.9, user's IP list", LOGIN, 521,
         "521 This user is not allowed to connect from this IP",
         1, NEW, PERMANENT, SERVER, None, "not-welcome"),
    case("FileZilla 0.9, home", LOGIN, 550, "550 Home directory does not exist",
         0, NEW, PERMANENT, SERVER, None, "not-welcome"),
]
SSH = [
    case("OpenSSH 9.2 MaxStartups", SSH_BANNER, None, "Exceeded MaxStartups\r\n",
         3, KNOWN, BUSY, SERVER, None, "ssh-startups"),
    case("OpenSSH 10 penalties", SSH_BANNER, None, "Not allowed at this time\r\n",
         0, NEW, BUSY, SERVER, None, "ssh-startups"),
    case("mod_sftp MaxInstances", SSH_BANNER, None, "",
         1, KNOWN, BUSY, SERVER, None, "ssh-silent"),
    case("SFTPGo host limit", SSH_BANNER, None,
         "Error reading SSH protocol banner[Errno 104] Connection reset by peer",
         0, NEW, BUSY, SERVER, None, "ssh-silent-alone"),
    case("an FTP server on that port", SSH_BANNER, None, "220 (vsFTPd 3.0.3)\r\n",
         0, NEW, PERMANENT, SERVER, None, "ftp-not-ssh"),
    case("a full FTP server on that port", SSH_BANNER, None,
         "421 There are too many connections from your internet address.\r\n",
         0, NEW, PERMANENT, SERVER, None, "ftp-not-ssh"),
    case("a mail server on that port", SSH_BANNER, None, "220 mail.example.com ESMTP Postfix\r\n",
         0, NEW, PERMANENT, SERVER, None, "not-ssh"),
    case("a TLS server on that port", SSH_BANNER, None, "\x15\x03\x03\x00\x02\x02F",
         1, KNOWN, PERMANENT, SERVER, None, "not-text"),
    case("somebody with colours", SSH_BANNER, None, "\x1b[31mZu viele f\ufffdr heute\x1b[0m\r\n",
         1, KNOWN, BUSY, SERVER, None, "ssh-silent"),
    case("bytes behind the banner", LOGIN, None,
         "what follows its SSH banner is no SSH (Invalid packet blocking)",
         1, KNOWN, TRANSIENT, SERVER, None, "ssh-garbled"),
    case("bytes in the login", LOGIN, None, "Mismatched MAC",
         1, KNOWN, TRANSIENT, SERVER, None, "ssh-garbled"),
    case("FIN behind the banner", LOGIN, None, "the server hung up in the key exchange",
         1, KNOWN, BUSY, ADDRESS, None, "silent-close"),
    case("a reason to disconnect", LOGIN, None, "Too many connections",
         1, KNOWN, BUSY, USER, None, "login-limit"),
    case("OpenSSH MaxSessions", CHANNEL, 2, "Connect failed",
         2, KNOWN, BUSY, CONNECTION, None, "channel-limit"),
    case("mod_sftp SFTPMaxChannels", CHANNEL, 3, "Unknown channel type",
         1, KNOWN, BUSY, CONNECTION, None, "channel-limit"),
    case("OpenSSH MaxSessions 0", CHANNEL, 2, "Connect failed",
         0, KNOWN, PERMANENT, SERVER, None, "channel-refused"),
    case("OpenSSH ForceCommand", CHANNEL, None, "EOF during negotiation",
         1, KNOWN, PERMANENT, SERVER, None, "no-sftp"),
    case("mod_sftp MaxClients", CHANNEL, None, "Unable to open channel.",
         0, KNOWN, BUSY, USER, None, "channel-closed"),
    case("mod_sftp MaxClients, first login ever", CHANNEL, None, "Unable to open channel.",
         0, NEW, PERMANENT, SERVER, None, "channel-refused"),
    case("OpenSSH, connection gone", CHANNEL, None, "SSH session not active",
         2, KNOWN, STALE, SERVER, None, "ssh-connection-dead"),
    case("OpenSSH ChannelTimeout", IDLE, None, "Socket is closed",
         1, KNOWN, STALE, SERVER, None, "idle-ended"),
]
ENDED = [
    case(f"{server}", phase, 421, f"421 {text}", 2, KNOWN, STALE, SERVER, None, rule)
    for phase, rule in [(IDLE, "idle-ended"), (COMMAND, "session-ended"),
                        (TRANSFER, "session-ended")]
    for server, text in [
        ("vsftpd", "Timeout."),
        ("vsftpd data", "Data timeout. Reconnect. Sorry."),
        ("ProFTPD", "Idle timeout (3 seconds): closing control connection"),
        ("ProFTPD", "No transfer timeout (60 seconds): closing control connection"),
        ("ProFTPD", "Session Timeout (3600 seconds): closing control connection"),
        ("ProFTPD", "FTP server shutting down - FTP server shut down"),
        ("Pure-FTPd", "Timeout - try typing a little faster next time"),
        ("Pure-FTPd", "Timeout (no operation for 120 seconds)"),
        ("pyftpdlib", "Control connection timed out."),
        ("pyftpdlib", "Data connection timed out."),
        ("FileZilla 1.x", "Activity timeout."),
        ("FileZilla 0.9", "No-transfer-time exceeded. Closing control connection."),
        ("FileZilla 0.9", "Connection timed out."),
        ("FileZilla 0.9", "Kicked by Administrator"),
        ("FileZilla 0.9", "Server is going offline"),
        ("FileZilla 0.9", "Could not create socket."),
        ("ftpserverlib", "command timeout (5 seconds): closing control connection"),
        ("the greeting's words prove nothing here", "There are too many connections from"
         " your internet address."),
    ]
] + [
    case("ProFTPD over TLS", IDLE, None, "", 1, KNOWN, STALE, SERVER, None, "idle-ended"),
    case("vsftpd over TLS", IDLE, None, "[SSL: TLSV1_ALERT_DECODE_ERROR]",
         1, KNOWN, STALE, SERVER, None, "idle-ended"),
    case("SFTPGo idle_timeout", COMMAND, None, "", 1, KNOWN, STALE, SERVER, None,
         "session-ended"),
    case("ProFTPD TimeoutStalled", TRANSFER, None, "", 0, KNOWN, STALE, SERVER, None,
         "session-ended"),
    case("vsftpd, no port left", TRANSFER, 500, "500 OOPS: vsf_sysutil_bind",
         1, KNOWN, STALE, SERVER, None, "vsftpd-died"),
    case("vsftpd, afterwards", COMMAND, 500, "500 OOPS: priv_sock_get_int",
         1, KNOWN, STALE, SERVER, None, "vsftpd-died"),
    case("pyftpdlib after REIN", COMMAND, 530, "530 Log in with USER and PASS first.",
         1, KNOWN, STALE, SERVER, None, "login-lost"),
    case("Pure-FTPd", TRANSFER, 530, "530 You aren't logged in",
         1, KNOWN, STALE, SERVER, None, "login-lost"),
    case("ProFTPD's 226 behind its 450", TRANSFER, 226, "226 Transfer complete",
         1, KNOWN, STALE, SERVER, None, "out-of-step"),
]
TRANSFERRING = [
    case("vsftpd", TRANSFER, 522, "522 SSL connection failed: session reuse required",
         1, KNOWN, PERMANENT, SERVER, None, "tls-session-reuse"),
    case("ProFTPD", TRANSFER, 425,
         "425 Unable to build data connection: Operation not permitted",
         1, KNOWN, PERMANENT, SERVER, None, "tls-session-reuse"),
    case("FileZilla 1.x", TRANSFER, 425,
         "425 Unable to build data connection: TLS session of data connection not resumed.",
         1, KNOWN, PERMANENT, SERVER, None, "tls-session-reuse"),
    case("FileZilla 0.9", TRANSFER, 450, "450 TLS session of data connection has not resumed or"
         " the session does not match the control connection",
         1, KNOWN, PERMANENT, SERVER, None, "tls-session-reuse"),
    case("AWS Transfer Family", TRANSFER, 522, "522 Data connection must use cached TLS session",
         1, KNOWN, PERMANENT, SERVER, None, "tls-session-reuse"),
    case("ProFTPD, no PROT P", TRANSFER, 522, "522 SSL/TLS required on the data channel",
         1, KNOWN, PERMANENT, SERVER, None, "data-tls-required"),
    case("vsftpd, no PROT P", TRANSFER, 522, "522 Data connections must be encrypted.",
         1, KNOWN, PERMANENT, SERVER, None, "data-tls-required"),
    case("Pure-FTPd, no PROT P", TRANSFER, 521,
         "521 Data connection cannot be opened with this PROT setting.",
         1, KNOWN, PERMANENT, SERVER, None, "data-tls-required"),
    case("ProFTPD, data connection refused", TRANSFER, 425,
         "425 Unable to build data connection: Connection refused",
         1, KNOWN, TRANSIENT, SERVER, None, "passing-trouble"),
    case("pyftpdlib max_cons", TRANSFER, 425, "425 Too many connections. Can't open data channel.",
         2, KNOWN, BUSY, SERVER, None, "data-limit"),
    case("ProFTPD MaxTransfersPerHost", TRANSFER, 451, "451 Sorry, the maximum number of data"
         " transfers (3) from your host are currently being used.",
         2, KNOWN, TRANSIENT, SERVER, None, "transfer-limit"),
    case("ProFTPD without AllowStoreRestart", TRANSFER, 451,
         "451 big.bin: Append/Restart not permitted, try again",
         1, KNOWN, PERMANENT, SERVER, None, "restart-not-permitted"),
    case("vsftpd", TRANSFER, 426, "426 Failure reading network stream.",
         1, KNOWN, TRANSIENT, SERVER, None, "passing-trouble"),
    case("ProFTPD", TRANSFER, 426, "426 Transfer aborted. Data connection closed",
         1, KNOWN, TRANSIENT, SERVER, None, "passing-trouble"),
    case("Pure-FTPd", TRANSFER, 451,
         "451-Error during read from data connection\r\n451-Transfer aborted\r\n451 1.2 seconds",
         1, KNOWN, TRANSIENT, SERVER, None, "passing-trouble"),
    case("ProFTPD, early EPSV", COMMAND, 450, "450 EPSV: data transfer in progress",
         1, KNOWN, TRANSIENT, SERVER, None, "passing-trouble"),
    case("ProFTPD, LIST", TRANSFER, 450, "450 nowhere: No such file or directory",
         1, KNOWN, PERMANENT, SERVER, None, "never-there"),
    case("ProFTPD, STOR", TRANSFER, 451, "451 aaaa: File name too long",
         1, KNOWN, PERMANENT, SERVER, None, "never-there"),
    case("vsftpd, missing directory", TRANSFER, 553, "553 Could not create file.",
         1, KNOWN, PERMANENT, SERVER, None, "rejected"),
    case("ProFTPD, missing directory", TRANSFER, 550, "550 a/b: No such file or directory",
         1, KNOWN, PERMANENT, SERVER, None, "rejected"),
    case("ProFTPD, a file called so", TRANSFER, 550,
         "550 too many connections: No such file or directory",
         1, KNOWN, PERMANENT, SERVER, None, "rejected"),
    case("pyftpdlib, a file called so", COMMAND, 550, "550 disk full.txt is not retrievable",
         1, KNOWN, PERMANENT, SERVER, None, "rejected"),
    case("vsftpd, MKD twice", COMMAND, 550, "550 Create directory operation failed.",
         1, KNOWN, PERMANENT, SERVER, None, "rejected"),
    case("Pure-FTPd, early command", COMMAND, 500, "500 Unknown command",
         1, KNOWN, PERMANENT, SERVER, None, "rejected"),
    case("ProFTPD, file size limit", TRANSFER, 552, "552 Transfer aborted. File too large",
         1, KNOWN, PERMANENT, SERVER, None, "file-too-large"),
]
FULL = [
    case("ProFTPD", TRANSFER, 452, "452 Transfer aborted. No space left on device",
         1, KNOWN, PERMANENT, SERVER, None, "storage-full"),
    case("Pure-FTPd", TRANSFER, 452, "452 Error during write to file",
         1, KNOWN, PERMANENT, SERVER, None, "write-failed"),
    case("vsftpd", TRANSFER, 451, "451 Failure writing to local file.",
         1, KNOWN, PERMANENT, SERVER, None, "write-failed"),
    case("Pure-FTPd -k", TRANSFER, 552, "552 Disk full - please upload later",
         1, KNOWN, PERMANENT, SERVER, None, "storage-full"),
    case("ProFTPD mod_quotatab", TRANSFER, 552,
         "552 STOR denied: quota exceeded: used 5.00 of 5.00 upload Mb",
         1, KNOWN, PERMANENT, SERVER, None, "storage-full"),
    case("ProFTPD mod_quotatab", COMMAND, 451,
         "451 MKD denied: quota exceeded: used 9 of 9 upload files",
         1, KNOWN, PERMANENT, SERVER, None, "storage-full-in-words"),
    case("pyftpdlib, on the way", TRANSFER, 426,
         "426 No space left on device; transfer aborted.",
         1, KNOWN, PERMANENT, SERVER, None, "storage-full-in-words"),
    case("pyftpdlib, MKD", COMMAND, 550, "550 No space left on device.",
         1, KNOWN, PERMANENT, SERVER, None, "storage-full-in-words"),
]
# fmt: on
CASES = [*CONNECTING, *GREETED, *LIMITS_AT_LOGIN, *LOGINS, *SSH, *ENDED, *TRANSFERRING, *FULL]
NAMES = [f"{one.phase}-{one.server}-{one.code}-{index}" for index, one in enumerate(CASES)]
every_case = pytest.mark.parametrize("one", CASES, ids=NAMES)


@every_case
def test_real_words_get_the_right_verdict(one: Case) -> None:
    verdict = one.verdict()
    assert (verdict.kind, verdict.scope, verdict.limit, verdict.rule) == one[6:]


@every_case
def test_only_a_full_disk_stops_the_batch(one: Case) -> None:
    assert one.verdict().stops_batch is (one in FULL)


def test_every_rule_is_hit_by_a_real_servers_words() -> None:
    assert {rule.name for rule in RULES} == {one.rule for one in CASES}


def test_rule_names_are_unique() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


@every_case
def test_capitals_and_spaces_do_not_matter(one: Case) -> None:
    for change in (str.upper, str.lower, str.title, str.swapcase):
        assert one.verdict(change(one.text)) == one.verdict()
    assert one.verdict(one.text.replace(" ", "   ") + " \r\n") == one.verdict()


REPLIES = [one for one in CASES if one.text.startswith(f"{one.code} ")]


@pytest.mark.parametrize("one", REPLIES)
def test_the_code_in_the_text_does_not_matter(one: Case) -> None:
    assert one.verdict(one.text[4:]) == one.verdict()


@pytest.mark.parametrize("one", REPLIES)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "  \r\n "])
def test_a_reply_over_several_lines_means_the_same(one: Case, newline: str) -> None:
    words = one.text[4:].split(" ")
    lines = [f"{one.code}-{word}" for word in words[:-1]] + [f"{one.code} {words[-1]}"]
    assert one.verdict(newline.join(lines)) == one.verdict()
    assert one.verdict(newline.join([f"{one.code}-", *lines])) == one.verdict()


@pytest.mark.parametrize(
    ("one", "few"),
    [
        (Case("ProFTPD", GREETING, None, "", 0, NEW, BUSY, ADDRESS, None, ""), True),
        (Case("ProFTPD", GREETING, None, "", 1, NEW, BUSY, ADDRESS, None, ""), False),
        (Case("IIS", GREETING, 421, "Complet", 0, NEW, BUSY, ADDRESS, None, ""), True),
        (Case("IIS", GREETING, 421, "Complet", 1, NEW, BUSY, ADDRESS, None, ""), False),
        (Case("vsftpd", GREETING, 421, "too many users", 0, NEW, BUSY, ADDRESS, None, ""), False),
        (Case("PAM", LOGIN, 530, "Login incorrect.", 2, KNOWN, BUSY, USER, None, ""), True),
        (Case("PAM", LOGIN, 530, "Nein.", 2, KNOWN, BUSY, USER, None, ""), True),
    ],
)
def test_only_a_refusal_without_words_gets_few_tries(one: Case, few: bool) -> None:
    assert one.verdict().kind is BUSY
    assert one.verdict().few_tries is few


def test_a_wrong_password_is_never_called_busy_before_the_first_login() -> None:
    for one in LOGINS:
        assert classify(Reply(*one[1:4]), live=5, worked_before=False).kind is not BUSY, one


def test_a_limit_of_zero_is_no_limit() -> None:
    text = "530 Sorry, the maximum number of connections (0) for your host are already connected."
    verdict = classify(Reply(GREETING, 530, text), live=1, worked_before=True)
    assert (verdict.kind, verdict.scope, verdict.limit) == (BUSY, ADDRESS, None)


@pytest.mark.parametrize(
    ("phase", "text", "scope", "limit"),
    [
        (GREETING, "530 Zu viele Verbindungen (4)", ADDRESS, 4),
        (LOGIN, "530 zu VIELE Verbindungen", USER, None),
        (LOGIN, "530 Zu viele Verbindungen for this user", USER, None),
    ],
)
def test_the_users_patterns_are_refusals_too(
    phase: Phase, text: str, scope: Scope, limit: int | None
) -> None:
    reply = Reply(phase, 530, text)
    verdict = classify(reply, live=0, worked_before=False, patterns=["voll", "^530 zu viele"])
    assert (verdict.kind, verdict.scope, verdict.limit) == (BUSY, scope, limit)
    assert not verdict.few_tries


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("530 Sorry, the maximum number of clients (3) for this user are already connected.", 3),
        ("421 Too many connections (8) from this IP", 8),
        ("421 50 users (the maximum) are already logged in, sorry", None),  # of all addresses
        ("530 Login incorrect.", None),
        ("connection closed without a greeting", None),
        ("", None),
    ],
)
def test_the_words_of_a_refusal_name_a_limit_or_none(words: str, limit: int | None) -> None:
    assert named_limit(words) == limit


def test_the_users_patterns_do_not_reach_into_the_session() -> None:
    reply = Reply(TRANSFER, 550, "550 voll.txt: Permission denied")
    assert classify(reply, live=1, worked_before=True, patterns=["voll"]).kind is PERMANENT


def test_a_ban_beats_the_users_patterns() -> None:
    reply = Reply(GREETING, 530, "530 Sorry, you are banned")
    assert classify(reply, live=1, worked_before=True, patterns=["sorry"]).kind is BANNED


@pytest.mark.parametrize("pattern", ["(", "*", "a{2,1}", "", "x*", b"voll", 7, None])
def test_a_bad_pattern_is_a_config_error_of_one_sentence(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"^Refusal pattern [^\n]*\.$"):
        check_patterns(["fine", pattern])
    with pytest.raises(ConfigError):
        classify(Reply(IDLE, None, ""), live=0, worked_before=False, patterns=[pattern])


def test_one_string_instead_of_a_list_of_patterns_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"write \['voll'\]"):
        check_patterns("voll")


def test_good_patterns_come_back_as_a_tuple() -> None:
    assert check_patterns(["zu viele", "voll$"]) == ("zu viele", "voll$")


@given(
    phase=st.sampled_from(Phase),
    code=st.none() | st.integers() | st.integers(100, 599),
    text=st.text() | st.lists(st.sampled_from([one.text for one in CASES])).map("\n".join),
    live=st.integers(),
    worked=st.booleans(),
)
def test_every_text_gets_a_verdict(
    phase: Phase, code: int | None, text: str, live: int, worked: bool
) -> None:
    verdict = classify(Reply(phase, code, text), live=live, worked_before=worked)
    assert isinstance(verdict, Verdict)
    assert verdict.rule in {rule.name for rule in RULES}
    assert verdict.limit is None or (verdict.limit > 0 and verdict.kind is BUSY)


@given(st.integers() | st.none(), st.text())
def test_a_logged_in_session_is_never_called_auth_or_banned(code: int | None, text: str) -> None:
    for phase in (IDLE, COMMAND, TRANSFER):
        verdict = classify(Reply(phase, code, text), live=1, worked_before=True)
        assert verdict.kind not in (AUTH, BANNED)


def test_the_module_imports_nothing_that_waits_or_connects() -> None:
    tree = ast.parse(Path(refusals.__file__).read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    allowed = {"__future__", "collections.abc", "enum", "re", "typing", "ftppool.errors"}
    assert names == allowed
