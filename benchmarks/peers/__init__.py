"""What Interlock is measured beside, and how each is set up: README.md. None of it is a dependency."""
