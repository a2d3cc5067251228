"""`make bench-operator`: what an operator costs that has nothing to do."""
