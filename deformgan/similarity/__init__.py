"""Scalars to minimise when images meet, and penalties on displacements; tensors only."""
