"""What the documentation is built and kept true with; no part of the program."""
