"""What people are told: lines for a log, a live screen for a terminal. Reads worlds and plans, changes nothing."""
