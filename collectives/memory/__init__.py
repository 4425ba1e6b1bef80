"""Memory that ranks share, and how the arrays of a message lie in it."""
