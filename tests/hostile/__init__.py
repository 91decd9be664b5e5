"""Servers that mean harm."""
