"""What a server's "no" means: one table from phase, reply code and words to a verdict.

421 alone says little: it is the connection limit of vsftpd, the idle time-out of everybody and
the "use TLS" of Pure-FTPd; ProFTPD's limits are 530, like a wrong password; SFTPGo's is 500; some
servers just hang up. So the rows of :data:`RULES` are tried in order and the first that fits
decides. The order is the theory:

1. the *phase*: after login no measured server refuses connections: a 421 there ends the session;
2. the *words*, from the most to the least certain: a ban before "too many" (a ban says "too many
   failed logins"), a limit before a wrong password (wu-ftpd says both in one reply);
3. the bare *code*, with our own sessions at the address and the history of these credentials:
   administrators and translators replace the words, so there must be an answer without any.

Pure: no socket, no clock, no thread. The comment above each row names the servers it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import NamedTuple

from ftppool.errors import ConfigError

__all__ = ["RULES", "Kind", "Phase", "Reply", "Rule", "Scope", "Verdict", "classify"]
__all__ += ["check_patterns", "named_limit"]


class Phase(StrEnum):
    """What was under way when the server said no."""

    CONNECT = "connect"  # the TCP connect
    SSH_BANNER = "ssh-banner"  # TCP is up, no "SSH-2.0-" yet
    GREETING = "greeting"  # TCP is up, no 220 yet
    LOGIN = "login"  # AUTH, USER, PASS, PBSZ, PROT; SSH key exchange and authentication
    CHANNEL = "channel"  # opening an SFTP channel on a logged-in SSH connection
    IDLE = "idle"  # nobody had asked anything
    TRANSFER = "transfer"  # a data command: EPSV, STOR, LIST … up to its 226
    COMMAND = "command"  # any other command on a logged-in session


class Kind(StrEnum):
    """What to do about it."""

    BUSY = "busy"  # no room for one more: wait, perhaps with a lower cap
    STALE = "stale"  # this session is dead: reopen at once, no back-off
    AUTH = "auth"  # the credentials are refused: never retry
    TRANSIENT = "transient"  # passing trouble: retry with back-off
    PERMANENT = "permanent"  # retrying cannot help
    BANNED = "banned"  # the server shut us out: no connect at all for a good while


class Scope(StrEnum):
    """Whose limit the words speak of; it decides which cap a ``BUSY`` may lower."""

    ADDRESS = "address"  # all our connections to this address
    USER = "user"  # those of this user: lowers the cap of this target only
    SERVER = "server"  # everybody's, or nobody's: never lowers a cap
    CONNECTION = "connection"  # channels of one SSH connection: fewer places, the same cap


class Reply(NamedTuple):
    """What came back.

    Attributes:
        phase: What was under way.
        code: The reply code; the failure code of an SSH channel open in phase ``CHANNEL``;
            None if the connection ended without a reply.
        text: All lines of the reply, with or without the code; else the exception's words.
    """

    phase: Phase
    code: int | None
    text: str


class Verdict(NamedTuple):
    """What the reply means.

    Attributes:
        kind: What to do.
        scope: Whose limit it is; only of interest with ``Kind.BUSY``.
        limit: The limit that the sentence names: a ceiling for the cap, not a promise. None if it
            names none, or one that is not ours alone.
        rule: Name of the row that decided.
        stops_batch: True if every other file would fail in the same way (disk full).
        few_tries: True if only circumstances speak for a limit: give up after one or two tries.
    """

    kind: Kind
    scope: Scope
    limit: int | None
    rule: str
    stops_batch: bool = False
    few_tries: bool = False


class Rule(NamedTuple):
    """One row; a condition left at None always holds."""

    name: str
    phases: frozenset[Phase]
    kind: Kind
    scope: Scope = Scope.SERVER
    codes: Collection[int | None] | None = None
    words: str | None = None  # regular expression; case does not matter
    limited: bool | None = None  # the text speaks of a limit (built-in words or the user's)
    alone: bool | None = None  # no session of ours is open
    proven: bool | None = None  # these credentials have logged in before
    stops_batch: bool = False
    few_tries: bool = False

    def fits(self, reply: Reply, text: str, *, limited: bool, alone: bool, proven: bool) -> bool:
        """Tell whether all conditions of this row hold; ``text`` is the reply on one line."""
        return (
            reply.phase in self.phases
            and (self.codes is None or reply.code in self.codes)
            and self.limited in (None, limited)
            and self.alone in (None, alone)
            and self.proven in (None, proven)
            and (self.words is None or _finds(self.words, text))
        )


def _finds(words: str, text: str) -> bool:
    return re.search(words, text, re.IGNORECASE) is not None


_CONNECT, _SSH_BANNER = frozenset({Phase.CONNECT}), frozenset({Phase.SSH_BANNER})
_GREETING, _LOGIN = frozenset({Phase.GREETING}), frozenset({Phase.LOGIN})
_CHANNEL, _IDLE = frozenset({Phase.CHANNEL}), frozenset({Phase.IDLE})
_OPENING = _GREETING | _LOGIN
_IN_SESSION = frozenset({Phase.COMMAND, Phase.TRANSFER})

# The words must name what is limited: "Login time exceeded" (FileZilla) is a time-out, "You are
# already logged in" (ProFTPD) a protocol error, "User max cannot log in" (IIS) a name.
_LIMIT = (
    r"too many(?! (arguments|parameters|commands|errors))"
    r"|\b(maximum|limit)\b.{0,40}\b(connection|client|user|session|host|login)"
    r"|\b(connection|client|user|session)s?\b.{0,30}\b(maximum|limit|exceeded|reached)"
    r"|\bmax\.? (number|\d+|connection|client|user|session)"
    r"|exceeded the number of|no more connections|can'?t accept more than"
    r"|(?<!you )\b(are|is) already (connected|logged in)|simultaneous|concurrent|too busy|overload"
)
_LATER = r"(temporarily|currently) unavailable|try (again |back )?later|rate limit exceed"
_WHOLE_SERVER = (
    r"connected users|users \(the maximum\)|users are connected|number of allowed clients"
    r"|server\b.{0,10}\bbusy|service\b.{0,20}\bunavailable|users using the system|from your class"
)
_USER = r"same user|(for|from) (this|the|your) (user|account)\b|too many open sessions"
_ADDRESS = r"\b(your|this|the same|per) (internet address|ip|host|address)\b|\bfor host\b"
# Not after "user": somebody may be called that, and replies repeat the name.
_BAN = r"(?<!user )(?<!user ['\"])\b(bann?ed|blacklisted|hammering)\b"
_FAILURES = (
    r"too many (failed|bad|invalid|incorrect|auth\w*|password)"
    r"|(log-?in|authentication|password) (attempts|failures|tries)"
)
_ACCOUNT = r"\baccount\b.{0,20}\b(disabled|locked|expired|suspended)"
_WRONG_LOGIN = (
    r"log-?in (or password )?incorrect|login authentication|authentication failed"
    r"|invalid (credentials|user|login|password)|password.{0,12}incorrect|private system"
    r"|bad authentication type"
)
_NEEDS_TLS = (
    r"cleartext|\b(tls|ssl|auth|encrypt\w*|prot p)\b.{0,25}\b(required|needed|first)"
    r"|(requires?|must use|use|using).{0,15}\b(tls|ssl|encryption)|does not allow plain"
    r"|must be encrypted|secure connection required|with this prot setting"
)
_BROKEN_SETUP = (
    r"can'?t trust you|home directory not available|unable to (set up|switch)|tls handshake failed"
    r"|oops: (vsftpd: )?(refusing to run|cannot (change directory|locate user))"
    r"|oops: (bad \w+ value|missing value|unrecogni[sz]ed variable|config file)"
)
# Without "closing control connection", which RFC 959 says of a full server.
_TIMED_OUT = r"time[- ]?(d )?out|\bidle\b|inactivity|time exceeded"
_NO_REUSE = r"session reuse|not resumed|cached tls session|operation not permitted"
# File names come first in a reply, so the words must begin it or follow a colon.
_DISK_FULL = r"(^|[:;\]] )(no space left on device|disk full|(disk )?quota exceeded)\b(?!\.\w)"
_NEVER_THERE = r"(no such file or directory|not a regular file|bad file name|name too long)\.?$"
_NUMBER = r"\((\d{1,4})\)|more than (\d{1,4})\b|sessions: (\d{1,4})\b"


def _wordless(
    name: str, phases: frozenset[Phase], codes: Collection[int | None] | None, scope: Scope
) -> tuple[Rule, Rule]:
    """Two rows for a refusal without words, with and without sessions of ours at the address.

    With some it is most likely a limit. With none it may as well be a dead or hostile server.
    """
    row = Rule(name, phases, Kind.BUSY, scope=scope, codes=codes, alone=False)
    return row, row._replace(name=f"{name}-alone", alone=True, few_tries=True)


# fmt: off
RULES: tuple[Rule, ...] = (
    # ---- TCP connect. Packet filters refuse (RST, ICMP) or drop at their limit.
    Rule("network-down", _CONNECT, Kind.TRANSIENT, words=r"network is (unreachable|down)"),
    # Our words for a ProxyCommand; 126 and 127 are those of a shell that cannot run something.
    Rule("proxy-broken", _CONNECT, Kind.PERMANENT, codes=(None,),
         words=r"^the proxycommand ended with status 12[67]\b"),
    Rule("proxy-failed", _CONNECT, Kind.TRANSIENT, codes=(None,), words=r"^the proxycommand "),
    Rule("connect-refused", _CONNECT, Kind.BUSY, scope=Scope.ADDRESS, alone=False),
    Rule("connect-failed", _CONNECT, Kind.TRANSIENT),
    # ---- Bans. FileZilla 0.9, SFTPGo's defender, ProFTPD mod_ban ("Host %a has been banned").
    Rule("banned", _OPENING | _SSH_BANNER, Kind.BANNED, words=_BAN),
    # Small servers that count failed logins for each address and say so in place of the banner.
    Rule("banned-for-failures", _GREETING, Kind.BANNED, words=_FAILURES),
    # ---- In place of the SSH banner. OpenSSH counts only connections that are logging in
    # (MaxStartups, PerSourceMaxStartups, penalties): this says nothing about our sessions.
    # sftp:// on an FTP port, which may be full at this moment; on a web or mail port.
    Rule("ftp-not-ssh", _SSH_BANNER, Kind.PERMANENT, words=r"^(220|421|[45]\d\d)[ -](?!.*smtp)"),
    Rule("not-ssh", _SSH_BANNER, Kind.PERMANENT, words=r"^(\d{3}[ -]|http/\d|<|\* ok|\+ok)"),
    # Bytes that are no words: TLS, a database. Not ESC, which may colour words.
    Rule("not-text", _SSH_BANNER, Kind.PERMANENT, words=r"[\x00-\x08\x0e-\x1a]"),
    Rule("ssh-startups", _SSH_BANNER, Kind.BUSY, words=r"maxstartups|not allowed at this time"),
    # mod_sftp MaxInstances, SFTPGo's host limit, libwrap: FIN without a byte.
    *_wordless("ssh-silent", _SSH_BANNER, None, Scope.SERVER),
    # Who refuses hangs up, or disconnects with a reason (which is words for the rows below). A
    # relay that mixes up connections sends this; paramiko says the latter two.
    Rule("ssh-garbled", _LOGIN, Kind.TRANSIENT, codes=(None,),
         words=r"^what follows its ssh banner|^invalid packet blocking|^mismatched mac"),
    # ---- SSH channels; "alone" means no other channel on this connection.
    # OpenSSH with ForceCommand: a channel, but no SFTP behind it.
    Rule("no-sftp", _CHANNEL, Kind.PERMANENT, words=r"eof during negotiation"),
    # paramiko: 'SSH session not active', 'Socket is closed'.
    Rule("ssh-connection-dead", _CHANNEL, Kind.STALE, codes=(None,),
         words=r"not active|socket is closed|reset by peer|broken pipe"),
    # OpenSSH MaxSessions: (2, 'Connect failed'); mod_sftp SFTPMaxChannels: (3, 'Unknown …').
    Rule("channel-limit", _CHANNEL, Kind.BUSY, scope=Scope.CONNECTION, alone=False),
    # mod_sftp MaxClients*: logs in, then 'Unable to open channel.' on the first one.
    Rule("channel-closed", _CHANNEL, Kind.BUSY, scope=Scope.USER, codes=(None,), proven=True,
         few_tries=True),
    # OpenSSH MaxSessions 0.
    Rule("channel-refused", _CHANNEL, Kind.PERMANENT),
    # ---- Greeting and login: words.
    # OpenSSH's MaxAuthTries, small FTP servers: "too many", but not of connections.
    Rule("too-many-failures", _LOGIN, Kind.AUTH, words=_FAILURES),
    # FileZilla 0.9. Even if it worked a minute ago: more tries only prolong a lock-out.
    Rule("account-disabled", _LOGIN, Kind.AUTH, words=_ACCOUNT),
    # wu-ftpd: "530-<the administrator's file about limits>", "530 Login incorrect."
    Rule("limit-or-password", _LOGIN, Kind.BUSY, limited=True, words=_WRONG_LOGIN, few_tries=True),
    # ProFTPD MaxHostsPerUser: its number counts hosts, and ours may be none of them.
    Rule("hosts-per-user", _OPENING, Kind.BUSY, limited=True, words=r"number of hosts"),
    # vsftpd max_clients, ProFTPD MaxClients and MaxClientsPerClass, Pure-FTPd -c, pyftpdlib
    # max_cons, FileZilla 0.9, wu-ftpd classes.
    Rule("server-full", _OPENING, Kind.BUSY, limited=True, words=_WHOLE_SERVER),
    # ProFTPD MaxClientsPerUser, Pure-FTPd -y, FileZilla 0.9, SFTPGo max_sessions.
    Rule("user-full", _OPENING, Kind.BUSY, scope=Scope.USER, limited=True, words=_USER),
    # vsftpd max_per_ip, ProFTPD MaxConnectionsPerHost and MaxClientsPerHost, Pure-FTPd -C,
    # pyftpdlib max_cons_per_ip, FileZilla 0.9, mod_sftp.
    Rule("address-full", _OPENING, Kind.BUSY, scope=Scope.ADDRESS, limited=True, words=_ADDRESS),
    # IIS, public archives: before USER it is about the address; after it FileZilla 1.x means the
    # user, which is also the smaller change if wrong.
    Rule("greeting-limit", _GREETING, Kind.BUSY, scope=Scope.ADDRESS, limited=True),
    Rule("login-limit", _LOGIN, Kind.BUSY, scope=Scope.USER, limited=True),
    # Pure-FTPd, vsftpd, ProFTPD, pyftpdlib, FileZilla, IIS, each with a code of its own.
    Rule("tls-required", _OPENING, Kind.PERMANENT, words=_NEEDS_TLS),
    # Pure-FTPd's 421 for a bad account, vsftpd's 500 OOPS for a bad configuration or home.
    Rule("broken-setup", _OPENING, Kind.PERMANENT, words=_BROKEN_SETUP),
    # ProFTPD, vsftpd, FileZilla: we were too slow to log in.
    Rule("login-timeout", _OPENING, Kind.STALE, codes=(421,), words=_TIMED_OUT),
    # vsftpd without ssl_enable answers so to AUTH TLS.
    Rule("no-tls", _LOGIN, Kind.PERMANENT, codes=(530,), words=r"log ?in with user and pass"),
    # ProFTPD says it with 501 too, paramiko without a code. After a login that worked it is more
    # likely a limit: SFTPGo's max_sessions over SSH, mod_sftp's MaxClients.
    Rule("wrong-login-but-worked", _LOGIN, Kind.BUSY, scope=Scope.USER, words=_WRONG_LOGIN,
         proven=True, few_tries=True),
    Rule("wrong-login", _LOGIN, Kind.AUTH, words=_WRONG_LOGIN),
    # ProFTPD and wu-ftpd shut down (500!), FileZilla 0.9 locked, SFTPGo's rate limit (500).
    Rule("come-back-later", _OPENING, Kind.BUSY, words=_LATER),
    # ftp:// on an SSH, web or mail port.
    Rule("ssh-not-ftp", _GREETING, Kind.PERMANENT, words=r"^ssh-\d"),
    Rule("not-ftp", _GREETING, Kind.PERMANENT, words=r"^(http/\d|<(!doc|html)|\* ok|\+ok)"),
    # ---- Any phase: a vsftpd child that died; its next command would get an RST.
    Rule("vsftpd-died", frozenset(Phase), Kind.STALE, codes=(500,), words=r"^oops\b"),
    # ---- Greeting and login: codes.
    # ProFTPD MaxInstances, MaxConnectionRate, mod_ban's first hit, inetd, SFTPGo: not a byte.
    *_wordless("silent-close", _OPENING, (None,), Scope.ADDRESS),
    # Pure-FTPd in 20 languages, IIS with its administrator's text, vsftpd under tcp_wrappers.
    *_wordless("greeting-421", _GREETING, (421,), Scope.ADDRESS),
    *_wordless("login-421", _LOGIN, (421,), Scope.USER),
    # ProFTPD MaxConnectionsPerHost with its administrator's text; no password was sent yet.
    *_wordless("greeting-530", _GREETING, (530,), Scope.ADDRESS),
    # SFTPGo max_per_host_connections; without sessions of ours we are simply not welcome.
    Rule("access-denied-at-limit", _GREETING, Kind.BUSY, scope=Scope.ADDRESS, codes=(500,),
         words=r"^access denied\W*$", alone=False, few_tries=True),
    # wu-ftpd "User x access denied.", ProFTPD MaxClients* with its administrator's text, PAM.
    Rule("530-but-worked", _LOGIN, Kind.BUSY, scope=Scope.USER, codes=(530,), proven=True,
         few_tries=True),
    Rule("login-530", _LOGIN, Kind.AUTH, codes=(530,)),
    # ProFTPD, FileZilla: 431 to AUTH TLS.
    Rule("opening-4xx", _OPENING, Kind.TRANSIENT, codes=range(400, 500)),
    # FileZilla's IP filter, ProFTPD without a virtual host, a login without a home directory.
    Rule("not-welcome", _OPENING, Kind.PERMANENT),
    # ---- After login.
    # An idle session has nothing to say: any byte or EOF is its end (over TLS 421 is garbage).
    Rule("idle-ended", _IDLE, Kind.STALE),
    # Every server's time-outs, kicks and shutdowns; FileZilla's "Could not create socket".
    Rule("session-ended", _IN_SESSION, Kind.STALE, codes=(None, 421)),
    # pyftpdlib, Pure-FTPd after a REIN or a failed second USER.
    Rule("login-lost", _IN_SESSION, Kind.STALE, codes=(530,), words=r"\blog(ged)? ?in\b"),
    # vsftpd 522, ProFTPD and FileZilla 1.x 425, FileZilla 0.9 450, AWS Transfer Family 522.
    Rule("tls-session-reuse", _IN_SESSION, Kind.PERMANENT, codes=(425, 450, 522), words=_NO_REUSE),
    # vsftpd, ProFTPD, Pure-FTPd, pyftpdlib: PROT P is missing.
    Rule("data-tls-required", _IN_SESSION, Kind.PERMANENT, words=_NEEDS_TLS,
         codes=(503, 521, 522, 530, 534, 536, 550)),
    # pyftpdlib counts data sockets in max_cons.
    Rule("data-limit", _IN_SESSION, Kind.BUSY, codes=(425,), words=r"^too many connections"),
    # ProFTPD MaxTransfersPerHost/PerUser: the session is fine, and the number is not about it.
    Rule("transfer-limit", _IN_SESSION, Kind.TRANSIENT, codes=(451,),
         words=r"number of data transfers|too many transfers$"),
    # ProFTPD without AllowStoreRestart: a 451 that no retry cures. Start from 0.
    Rule("restart-not-permitted", _IN_SESSION, Kind.PERMANENT, codes=(451,),
         words=r"restart not permitted|^rest \w+ not allowed"),
    # vsftpd (451), Pure-FTPd (452), of whatever write() said: mostly a full disk, a used-up quota.
    Rule("write-failed", _IN_SESSION, Kind.PERMANENT, codes=(451, 452),
         words=r"failure writing to local file|error during write to file", stops_batch=True),
    # ProFTPD, Pure-FTPd. EFBIG is 552 as well, but smaller files will do.
    Rule("file-too-large", _IN_SESSION, Kind.PERMANENT, codes=(552,), words=r"file too large"),
    Rule("storage-full", _IN_SESSION, Kind.PERMANENT, codes=(452, 552), stops_batch=True),
    # pyftpdlib says it with 426 and 550, ProFTPD's mod_quotatab with 451.
    Rule("storage-full-in-words", _IN_SESSION, Kind.PERMANENT, codes=(*range(400, 500), 550),
         words=_DISK_FULL, stops_batch=True),
    # ProFTPD's LIST, NLST and STOR give 450 and 451 for what will never be there.
    Rule("never-there", _IN_SESSION, Kind.PERMANENT, codes=(450, 451), words=_NEVER_THERE),
    # 425, 426, 450, 451 of every server: data connection, aborted, busy, local error.
    Rule("passing-trouble", _IN_SESSION, Kind.TRANSIENT, codes=range(400, 500)),
    # 550 and 553 of every server (the caller may make the directory and try once more).
    Rule("rejected", _IN_SESSION, Kind.PERMANENT, codes=range(500, 600)),
    # ProFTPD's 226 behind a 450, pyftpdlib's lost reply: answers no longer match commands.
    Rule("out-of-step", _IN_SESSION, Kind.STALE),
)
# fmt: on


def classify(
    reply: Reply, *, live: int, worked_before: bool, patterns: Sequence[str] = ()
) -> Verdict:
    """Tell what a failure means.

    Args:
        reply: What came back, and during what.
        live: Our own sessions that are open at the address, the failed one not counted; in phase
            ``CHANNEL`` the channels that are open on this SSH connection.
        worked_before: True if these credentials have logged in before.
        patterns: More regular expressions that mean "no more connections"; case does not matter.
            They count in the greeting and at login, where they beat all but ban and failure words.

    Returns:
        The verdict of the first row that fits; one always does.

    Raises:
        ConfigError: A pattern is not valid.
    """
    text = _one_line(reply)
    limited = _finds(_LIMIT, text) or _matches(patterns, reply.text, text)
    facts = {"limited": limited, "alone": live <= 0, "proven": worked_before}
    row = next(rule for rule in RULES if rule.fits(reply, text, **facts))
    limit = _limit(row, text)
    return Verdict(row.kind, row.scope, limit, row.name, row.stops_batch, row.few_tries)


def named_limit(words: str) -> int | None:
    """Return the number of connections that a refusal at login names; None if it names none."""
    code = int(words[:3]) if words[:3].isascii() and words[:3].isdigit() else None
    return classify(Reply(Phase.LOGIN, code, words), live=1, worked_before=True).limit


def check_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Check the user's refusal patterns and return them as a tuple.

    Raises:
        ConfigError: One is no regular expression or matches everything, or this is one string.
    """
    if isinstance(patterns, str):
        raise ConfigError(f"patterns must be a list of strings: write [{patterns!r}].")
    for pattern in patterns:
        _compile(pattern)
    return tuple(patterns)


def _compile(pattern: object) -> re.Pattern[str]:
    problem = "must be a string that does not match every reply"
    if isinstance(pattern, str):
        try:
            compiled = re.compile(pattern, re.IGNORECASE)
            # Matching all would turn a wrong password into a full server, to be tried for ever.
            if not compiled.search(""):
                return compiled
        except (re.error, OverflowError, RecursionError) as error:
            problem = f"is not a valid regular expression ({error})"
    raise ConfigError(f"Refusal pattern {pattern!r} {problem}.")


def _matches(patterns: Sequence[str], *texts: str) -> bool:
    return any(
        _compile(pattern).search(text) for pattern in check_patterns(patterns) for text in texts
    )


def _one_line(reply: Reply) -> str:
    """Join a reply's lines without their codes; a curly apostrophe becomes a plain one."""
    lines = reply.text.replace("\u2019", "'").split("\n")
    marks = () if reply.code is None else (f"{reply.code}-", f"{reply.code} ")
    bare = (line[4:] if line.startswith(marks) else line for line in map(str.strip, lines))
    return " ".join(" ".join(bare).split())


def _limit(rule: Rule, text: str) -> int | None:
    """Read the limit from the sentence, where it is one that we alone can reach."""
    if rule.kind is not Kind.BUSY or rule.scope not in (Scope.ADDRESS, Scope.USER):
        return None
    found = re.search(_NUMBER, text, re.IGNORECASE)
    return (int(found[found.lastindex or 0]) or None) if found else None
