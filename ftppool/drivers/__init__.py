"""How to speak to a server: one driver per protocol, the only users of ftplib and paramiko."""
