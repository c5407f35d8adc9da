"""What a developer sees while a project is worked on: pages that reload by themselves, and why something does not work."""
