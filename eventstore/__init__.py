"""The event store: append-only history and leased queues; the only caller of the engine's SQL."""
