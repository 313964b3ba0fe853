"""A run as one page: what was found, how, by which policy, and how sound the data is.

Rule of this folder: numbers are computed once, in `Snapshot`; plots and page only show them. plotly is imported when it is used.
"""

from ostinato.report.page import write
from ostinato.report.snapshot import Snapshot, snapshot

__all__ = ["Snapshot", "snapshot", "write"]
