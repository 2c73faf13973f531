"""A server process under every kind of exchange, for as many as it takes to see whether anything is left behind."""
