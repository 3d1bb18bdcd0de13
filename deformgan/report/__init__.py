"""What a registration looks like: one self-contained page, and pictures; reads results only."""

from deformgan.report.html import write_report

__all__ = ["write_report"]
