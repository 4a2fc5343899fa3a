"""The examination of data: list, scan, diagnose, check."""
