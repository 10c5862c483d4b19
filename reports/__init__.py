"""What people read: certificates become pages, tables, badges and diffs. Nothing here runs a backend or a check."""

from conv1d_cts.reports import history
from conv1d_cts.reports.certificate import Certificate, CertificateError, dump, dumps, load, load_folder
from conv1d_cts.reports.diff import Diff, diff
from conv1d_cts.reports.facts import counts, findings, worst
from conv1d_cts.reports.report import ReportPaths, write_report
from conv1d_cts.reports.terminal import show

__all__ = [
    "Certificate", "CertificateError", "Diff", "ReportPaths",
    "counts", "diff", "dump", "dumps", "findings", "history", "load", "load_folder", "show", "worst", "write_report",
]  # fmt: skip
