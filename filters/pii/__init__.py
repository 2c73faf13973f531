"""The parts of the PII detector: what is looked for, where, and what is put in its place."""
