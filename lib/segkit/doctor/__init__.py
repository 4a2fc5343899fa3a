"""Preflight: looks at data, network, settings and machine before the first step.

for finding in inspect_folder("data/mine"):
    print(finding)
"""

from segkit.doctor.data import CHECKS, inspect, inspect_data, inspect_folder
from segkit.doctor.finding import Finding, Place, by_severity
from segkit.doctor.ladder import Rung, climb
from segkit.doctor.record import Record, Scan
from segkit.doctor.rehearsal import look_at_network
from segkit.doctor.scan import scan_data, scan_folder

__all__ = [
    "CHECKS",
    "Finding",
    "Place",
    "Record",
    "Rung",
    "Scan",
    "by_severity",
    "climb",
    "inspect",
    "inspect_data",
    "inspect_folder",
    "look_at_network",
    "scan_data",
    "scan_folder",
]
