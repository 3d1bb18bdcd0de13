"""Find the transform that aligns one pair of images."""
