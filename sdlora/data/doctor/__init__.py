"""The dataset doctor: every file of a folder, what became of it, why, and what to do. It changes nothing."""

from .cleaning import Cleaned, clean
from .contact_sheet import write_sheet
from .examination import Report, examine
from .findings import Finding
from .short import short

__all__ = ["Cleaned", "Finding", "Report", "clean", "examine", "short", "write_sheet"]
