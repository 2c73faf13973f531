"""The gateway's other half: the Envoy configuration that fits ours, and the process that runs it."""
