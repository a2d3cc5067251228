"""Clusters that nobody has on a laptop: their metadata with the real code, their requests and their money by formula."""
