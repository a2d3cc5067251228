"""Brokers as pods: what the API server and the brokers say is observed, and steps become calls."""
