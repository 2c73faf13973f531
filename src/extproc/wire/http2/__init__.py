"""HTTP/2 (RFC 9113) for one kind of service, gRPC: what a proxy speaks to its processor, and nothing else of it."""
