"""Servers on the loopback address for tests of HTTP: one that misbehaves as it is told, and httpbin."""
