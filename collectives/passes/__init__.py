"""What the collectives add to the compiler: packed gradients, and ranks that agree on their graphs."""
