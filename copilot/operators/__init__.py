"""What members of staff do to the server's work, each act noted with who did it."""
