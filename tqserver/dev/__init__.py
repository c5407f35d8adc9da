"""What a developer sees while working: pages that reload by themselves, and why something does not work."""
