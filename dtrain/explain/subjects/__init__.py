"""What `dtrain explain` explains, a file each."""
