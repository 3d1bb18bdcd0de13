"""Compiled CPU loops on plain numpy arrays; each has a plain torch twin elsewhere that is its test's reference."""
