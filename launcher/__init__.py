"""How ranks start. Imports nothing of the framework but `dtrain.base`."""

assert __name__ == "dtrain.launcher", "import dtrain.launcher, never the bare name `launcher`"
