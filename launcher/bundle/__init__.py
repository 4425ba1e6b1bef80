"""A folder that installs dtrain where no package index can be reached: wheels, scripts, and a list of what is in it."""
