"""How fast the queues are."""
