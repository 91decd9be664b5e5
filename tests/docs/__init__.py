"""Every example of README.md and docs/ is executed, against real servers."""
