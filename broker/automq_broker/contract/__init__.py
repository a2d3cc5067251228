"""The broker's promise to operator, chart and dashboards: admin models, metric names, environment names."""
