"""The scenarios of `scripts/bench`: what is started, what is measured, and the table of it. Standard library only."""
