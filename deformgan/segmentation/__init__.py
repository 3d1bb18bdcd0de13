"""Structures found on slices: an image beside the one synthesised of it, or one image alone."""
