"""The planners: a world and the time in, a plan out. They know no clock, no Kubernetes, no process, no broker's insides.

A plan is a list of steps, a list of deferrals (what is not done and why), and what to remember. The same world and time
always give the same plan; a world in which all is as wanted gives no steps. Nothing depends on what an earlier plan did
except through the world, so a fresh operator goes on from wherever its predecessor was cut off.
"""
