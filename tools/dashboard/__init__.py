"""The Grafana dashboard: its panels, and a picture of it."""
