"""How the explorer draws: functions from a table to a figure. look: what all have in common."""
