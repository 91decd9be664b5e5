"""Tests of the stand-in for ftplib."""
