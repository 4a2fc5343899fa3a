"""`segbook bench`: speed, measured side by side in one run, as ratios."""
