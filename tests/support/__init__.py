"""Real servers, a chaos relay and a leak check for the tests of ftppool."""
