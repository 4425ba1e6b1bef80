"""How ranks talk."""

assert __name__ == "dtrain.collectives", "import dtrain.collectives, never the bare name `collectives`"
