"""The pure core: graph, decision, replay, substitution. No I/O, no clock, no randomness."""
