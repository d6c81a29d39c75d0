"""What is done to a run's files after they are committed: merge, check, repair, revise."""
