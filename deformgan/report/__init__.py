"""What a registration looks like: one self-contained page, and pictures; reads results only."""

from deformgan.report.html import report_page
from deformgan.report.notebook import Page

__all__ = ["Page", "report_page"]
