"""What the first lines of the README verify: it is installed with the package, so that they can be tried at once."""
