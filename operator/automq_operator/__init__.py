"""The operator: watches AutoMQCluster resources, runs brokers, and re-attaches a dead broker's WAL beside a survivor."""
