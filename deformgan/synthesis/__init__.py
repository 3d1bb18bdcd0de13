"""MR -> CT synthesis with gradient consistency: train on slices or patches, then translate whole volumes."""
