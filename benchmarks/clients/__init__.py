"""The Python clients that are measured: each a process of its own, start-up included.

Each takes HOST PORT USER PASSWORD FOLDER CONNECTIONS SSH (a folder with key and known_hosts, or
nothing) from the command line and sends all that is in FOLDER to the login directory.
"""
