"""Serves a run's trees to a browser on this machine: nothing is loaded whole, nothing is written."""
