"""One rank: the supervisor that every backend starts, and the script in its child."""
