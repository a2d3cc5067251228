"""Where a plan is carried out. A platform observes a world and acts on steps; it decides nothing."""
