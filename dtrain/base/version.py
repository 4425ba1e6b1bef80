"""The version of dtrain, written here and nowhere else: packaging reads it from this line."""

VERSION = "0.1.0.dev0"
