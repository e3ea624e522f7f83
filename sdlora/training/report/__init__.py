"""`report.html`: one page that tells a whole run, made from the run's folder alone."""

from .page import write_report

__all__ = ["write_report"]
