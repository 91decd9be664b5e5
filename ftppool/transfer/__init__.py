"""How one file gets to the server whole."""
