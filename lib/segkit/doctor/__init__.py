"""Preflight: looks at data, network, settings and machine before the first step.

for finding in inspect_folder("data/mine"):
    print(finding)
"""

from segkit.doctor.data.diagnosis import Record, Scan
from segkit.doctor.data.faults import FAULTS, plant
from segkit.doctor.data.inspection import CHECKS, inspect, inspect_folder
from segkit.doctor.data.scan import scan_data, scan_folder
from segkit.doctor.finding import Finding, Place, by_severity
from segkit.doctor.model.dry_run import check_network, dry_run
from segkit.doctor.model.sanity_checks import run_sanity_checks

__all__ = [
    "CHECKS",
    "FAULTS",
    "Finding",
    "Place",
    "Record",
    "Scan",
    "by_severity",
    "check_network",
    "dry_run",
    "inspect",
    "inspect_folder",
    "plant",
    "run_sanity_checks",
    "scan_data",
    "scan_folder",
]
