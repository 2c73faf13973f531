"""A configuration that changes while the server runs: watched, judged as a start would judge it, and taken over as a whole or
not at all, while each exchange keeps the one that it began with.
"""
