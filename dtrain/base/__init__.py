"""Floor 0: plain facts that every other floor may import, and that import nothing of dtrain above themselves."""
