"""What dtrain decides and why, one module a subject of `dtrain explain`. The top floor: it may ask all others."""
