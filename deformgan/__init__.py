"""Deformable registration of 3-D medical images across modalities."""

__version__ = "0.1.0"
