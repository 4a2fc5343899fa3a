"""Run folders, and what may be done with them: start, resume, list, show, report."""
