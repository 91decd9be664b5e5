"""Permits beyond one pool: what must be asked before a connection may be opened."""
