"""Makes report.html of a run: what ran, what was kept and why, what it cost, how good the labels are, some trees."""
