"""What a worker does outside itself: SQL and HTTP steps."""
