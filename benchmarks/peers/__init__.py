"""Other libraries that ask one model after the other, measured beside this one, each in an environment of its own."""
