"""One job while it runs, as the launcher sees it, and its last word."""
